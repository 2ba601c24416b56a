"""From token states to one vector per chunk, on packed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embed_corpus.engine.ops import mean_rows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["pool"]


def pool(hidden: Tensor, edges: Tensor, mode: str) -> Tensor:
    """Pool packed token states, [T, hidden] of any float type, to float32 [N, hidden].

    `edges` is int32[N + 1]; `mode` "cls" (first token), "lasttoken" or "mean" over all of a
    chunk's tokens. The mean adds a chunk's rows in order, whatever lies around it, so its
    bits do not depend on the batch.

    Raises:
        ValueError: an unknown mode.
    """
    if mode == "cls":
        return hidden[edges[:-1].long()].float()
    if mode == "lasttoken":
        return hidden[edges[1:].long() - 1].float()
    if mode == "mean":
        return mean_rows(hidden, edges)
    raise ValueError(f"unknown pooling {mode!r}")
