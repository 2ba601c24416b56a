"""Layers that fail at chosen calls, as a device would, and models that give no numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors.torch import load_file, save_file

from embed_corpus.engine.encoder import LocalEncoder

ALWAYS = range(1, 10**6)


class Faulty:
    """A way to run a model's layers that is out of memory at some calls, counted from 1, and else does its work."""

    def __init__(self, forward: Callable[..., Any], failing: Collection[int]) -> None:
        self.name, self.layout = getattr(forward, "name", ""), getattr(forward, "layout", None)
        self.pools = getattr(forward, "pools", False)
        self._forward, self._failing = forward, failing
        self.calls = 0
        self.sizes: list[int] = []

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        self.sizes.append(len(getattr(args[0], "ids", ())))
        if self.calls in self._failing:
            raise torch.OutOfMemoryError("made up")
        return self._forward(*args)


class Crowded(Faulty):
    """Layers on a GPU whose memory another takes at the second call, all but a little, and gives back after two fail.

    On a CPU nothing real can be done: there the two calls fail by themselves.
    """

    def __init__(self, forward: Callable[..., Any], device: torch.device) -> None:
        super().__init__(forward, () if device.type == "cuda" else (2, 3))
        self._device, self._taken, self._short = device, torch.empty(0), 0

    def __call__(self, *args: Any) -> Any:
        if self.calls == 1 and self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(self._device)
            self._taken = torch.empty(free - (16 << 20), dtype=torch.uint8, device=self._device)
        try:
            return super().__call__(*args)
        except torch.OutOfMemoryError:
            self._short += 1
            if self._short == 2:
                self._taken = torch.empty(0)
            raise


def lose_context(device: torch.device) -> NoReturn:
    """Fail as a device does whose context is lost: on a GPU it really is, by an index out of range on the device."""
    if device.type == "cuda":
        torch.zeros(4, device=device)[torch.full((1,), 9, device=device)]
        torch.cuda.synchronize(device)
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nmade up")


class Bent:
    """A way to run a model's layers whose outcome, at the places of one token, is no number."""

    def __init__(self, forward: Any, token: int) -> None:
        self.name, self.layout, self.pools = forward.name, forward.layout, forward.pools
        self._forward, self._token = forward, token

    def __call__(self, packed: Any) -> torch.Tensor:
        states: torch.Tensor = self._forward(packed)
        hit = packed.ids == self._token
        if self.pools:  # one state a text
            edges = packed.cu_seqlens.tolist()
            hit = torch.stack([hit[a:b].any() for a, b in pairwise(edges)])
        return states.masked_fill(hit[:, None], torch.nan)


def break_down(encoder: LocalEncoder, failing: Collection[int]) -> Faulty:
    """Let an encoder's device run out of memory at some calls."""
    faulty = Faulty(encoder.forward, failing)
    encoder.forward = faulty
    return faulty


def with_row(model: Path, folder: Path, token: int, value: float) -> Path:
    """A copy of a model in which one token's embedding is this value throughout."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    (name,) = (n for n in weights if n.endswith(("word_embeddings.weight", "embed_tokens.weight")))
    weights[name][token] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder
