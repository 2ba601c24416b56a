"""The encoder on a device of this machine: one embedding model, eating packed batches."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from embed_corpus import __version__
from embed_corpus.engine import ops
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.engine.padded import PADDED_WINDOW, PaddedLayers
from embed_corpus.engine.pending import LocalPending
from embed_corpus.errors import ModelError
from embed_corpus.feed.packing import CPU_BUDGET, MIN_TOKENS, Packer, alone, split_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from embed_corpus.data import Batch
    from embed_corpus.engine.forward import Forward
    from embed_corpus.engine.transfer import Sent

__all__ = ["LocalEncoder", "untested"]

log = logging.getLogger("embed_corpus")

_CHANGE_PAUSE = 600.0
"""Seconds between two lasting changes of the token budget: what is short of memory may be someone else."""
_AHEAD = 3
"""Batches that a GPU has before it, so that it never waits for the thread that submits."""


class LocalEncoder:
    """Layers on a device that were found right and fast there, with what carries batches through them.

    `ready.get_ready` makes one.

    Attributes:
        runner: what carries batches over the device; it knows model, device and precision.
        arithmetic: what a pass costs.
        forward: the way the layers run.
        padded: that is the padded path.
        token_budget: tokens of a batch that fit; lowered when memory runs out.
        redone: texts whose vectors were not finite and were computed again in fp32.
    """

    def __init__(
        self,
        model: LoadedModel,
        forward: Forward,
        token_budget: int,
        *,
        remember: Callable[[int], None] | None = None,
    ) -> None:
        """`remember` notes a budget that had to be lowered twice; None: nobody measured it, so nobody wants to know."""
        self.runner, self.arithmetic = model.runner, model.arithmetic
        self.forward = forward
        self.padded = isinstance(forward, PaddedLayers)
        self.token_budget = max(token_budget, self.runner.longest)
        self.redone = 0
        self._remember = remember
        self._wide: LocalEncoder | None = None
        self._changes: list[float] = []

    @property
    def _on_gpu(self) -> bool:
        return self.runner.device.type == "cuda"

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch as the encoder wants it now; the padded path sorts many passes' worth."""
        return self.token_budget * (PADDED_WINDOW if self.padded else 1)

    @property
    def ahead(self) -> int:
        """Batches to submit before the vectors of the first are asked for; a CPU is done with one when it has it."""
        return _AHEAD if self._on_gpu else 0

    def packer(self) -> Packer:
        """Return a packer that makes such batches; on a GPU all of one shape."""
        return Packer(self.batch_tokens, static=self._on_gpu and not self.padded)

    def encode(self, batch: Batch) -> NDArray[np.float32]:
        """Embed a batch and wait for it; float32[n_chunks, dim] in the batch's order."""
        return self.submit(batch).result()

    def submit(self, batch: Batch) -> LocalPending:
        """Set a batch going; on a GPU this returns before the vectors are there.

        A vector that is not finite is computed again in fp32, from its text alone; if that does
        not help it stays as it is.

        Raises:
            ModelError: the device's memory cannot hold even the longest text.
        """
        pieces = self._send(batch)
        return LocalPending(pieces, self.arithmetic, np.diff(batch.cu_seqlens), partial(self._mend, batch))

    def close(self) -> None:
        """Let go of the layers."""
        self._wide = None
        del self.forward

    def _send(self, batch: Batch) -> list[Sent]:
        # Each try ends before the next begins: a caught error keeps the tensors of its frames alive.
        for _ in range(2):
            try:
                return [self.runner.send(batch, self.forward)]
            except torch.OutOfMemoryError:
                pass
            torch.cuda.empty_cache()
        if isinstance(self.forward, PaddedLayers) and self.forward.halve():
            log.warning("%s: out of memory, going on with half as many texts at a time", self.runner.device)
            return self._send(batch)
        # Not below the longest text of the job, whatever this batch holds: few rows may add up in another order.
        half = max(len(batch.input_ids) // 2, self.runner.longest, MIN_TOKENS)
        if half >= len(batch.input_ids) or self.padded:
            raise ModelError(
                f"{self.runner.device} is out of memory even with batches of {len(batch.input_ids)} tokens: "
                "use shorter --chunk-tokens, or --precision fp16, or free the device."
            )
        self._shrink(half)
        return [piece for part in split_batch(batch, half) for piece in self._send(part)]

    def _shrink(self, budget: int) -> None:
        now = time.monotonic()
        if budget >= self.token_budget or (self._changes and now - self._changes[-1] < _CHANGE_PAUSE):
            return
        log.warning("%s: out of memory, going on with batches of %d tokens", self.runner.device, budget)
        self.token_budget = max(budget, self.runner.longest)
        self._changes.append(now)
        if len(self._changes) >= 2 and self._remember is not None:
            self._remember(self.token_budget)

    def _mend(self, batch: Batch, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the vectors that are not finite again, each from its text alone, in fp32."""
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if not len(bad) or self.runner.precision == "fp32":
            return vectors
        if self._wide is None:
            # On the CPU, whatever the device: it is rare, and takes no memory that batches were measured without.
            model = LoadedModel(self.runner.facts, "cpu", "fp32", self.runner.longest)
            self._wide = untested(model, padded=self.padded)
        vectors = vectors.copy()
        for text, there, here in alone(batch, bad):
            vectors[here] = self._wide.encode(text)[there]
        self.redone += len(bad)
        return vectors

    @property
    def numerics(self) -> dict[str, Any]:
        """Everything that can change a vector's bits: for the run report and for `verify`.

        The token budget is told beside them: bits do not depend on it.
        """
        cuda = self._on_gpu
        device = torch.cuda.get_device_name(self.runner.device) if cuda else torch.backends.cpu.get_cpu_capability()
        names = ("torch", "transformers", "triton") if cuda else ("torch", "transformers")
        return {
            "embed-corpus": __version__,
            **{name: _version(name) for name in names},
            "cuda": str(torch.version.cuda) if cuda else "",
            "device": device,
            "machine": platform.machine(),
            "threads": 0 if cuda else torch.get_num_threads(),
            "layers": self.forward.name,
            "kernels": ops.has_kernels(self.runner.device),
        }


def untested(
    model: LoadedModel, *, token_budget: int = CPU_BUDGET, padded: bool = False, compiled: bool = True
) -> LocalEncoder:
    """Make an encoder that takes one path or the other, whatever comes of it.

    Raises:
        ModelError: fp8 on a path that has none.
    """
    budget = max(token_budget, model.runner.longest)
    return LocalEncoder(model, model.padded(budget) if padded else model.packed(compiled=compiled), budget)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
