"""From token states to one vector per chunk, on packed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["pool"]


def pool(hidden: Tensor, cu_seqlens: Tensor, mode: str) -> Tensor:
    """Pool packed token states, [T, hidden] of any float type, to float32 [N, hidden].

    `cu_seqlens` is int64[N + 1]; `mode` "cls" (first token), "lasttoken" or "mean" over all
    of a chunk's tokens. The mean adds a chunk's rows in order, whatever lies around it, so
    its bits do not depend on the batch.

    Raises:
        ValueError: an unknown mode.
    """
    if mode == "cls":
        return hidden[cu_seqlens[:-1]].float()
    if mode == "lasttoken":
        return hidden[cu_seqlens[1:] - 1].float()
    if mode == "mean":
        return torch.segment_reduce(hidden.float(), "mean", lengths=cu_seqlens.diff(), axis=0)
    raise ValueError(f"unknown pooling {mode!r}")
