"""Dense modules: what a model does to pooled vectors before they are normalised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F  # noqa: N812  # its usual name

from embed_corpus.engine import ops
from embed_corpus.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from embed_corpus.model.dense import Dense
    from embed_corpus.model.facts import ModelFacts

__all__ = ["Heads"]

_ROWS = {"cuda": 512, "cpu": 32}
"""Vectors that go through together: always so many, because a product with another number of rows
may add up in another order."""


class Heads:
    """A model's Dense modules, in fp32 whatever the model's own precision: they are next to nothing beside it."""

    def __init__(self, facts: ModelFacts, device: torch.device) -> None:
        """Load the weights.

        Raises:
            ModelError: they are missing, of another shape, or no finite numbers.
        """
        self._layers = [(dense, *_weights(dense, device)) for dense in facts.dense]
        self._rows = _ROWS[device.type]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Turn pooled vectors, fp32 [N, pooled], into fp32 [N, dim]."""
        if not self._layers:
            return vectors
        n = len(vectors)
        filled = F.pad(vectors, (0, 0, 0, -n % self._rows))
        return torch.cat([self._through(rows) for rows in torch.split(filled, self._rows)])[:n]

    def _through(self, x: Tensor) -> Tensor:
        for dense, weight, bias in self._layers:
            if dense.of_units:
                x = ops.unit_rows(x)
            x = F.linear(x, weight, bias)
            x = getattr(torch.nn, dense.activation)()(x)
        return x


def _weights(dense: Dense, device: torch.device) -> tuple[Tensor, Tensor | None]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = dense.folder / "model.safetensors"
    try:
        found = load_file(file)
    except FileNotFoundError:
        old = dense.folder / "pytorch_model.bin"
        why = f": {old.name} is a pickle, which is never loaded" if old.exists() else ""
        raise ModelError(f"{dense.folder} lacks model.safetensors, the Dense module's weights{why}.") from None
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}, the Dense module's weights, cannot be read: {error}") from error
    expected = {"linear.weight": (dense.n_out, dense.n_in)} | ({"linear.bias": (dense.n_out,)} if dense.bias else {})
    for name, shape in expected.items():
        if name not in found or tuple(found[name].shape) != shape:
            there = f"has shape {tuple(found[name].shape)}" if name in found else "is missing"
            raise ModelError(f"{file}: {name} {there}; {dense.folder / 'config.json'} asks for {shape}.")
        if not found[name].isfinite().all():
            raise ModelError(f"{file}: {name} holds numbers that are not finite.")
    bias = found["linear.bias"].float().to(device) if dense.bias else None
    return found["linear.weight"].float().to(device), bias
