"""From token states to one vector per chunk, on packed rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from embed_corpus.engine.ops import pool_rows

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["pool"]


def pool(hidden: Tensor, edges: Tensor, mode: str, left_out: int = 0) -> Tensor:
    """Pool packed token states, [T, hidden] of any float type, to float32 [N, hidden x modes].

    `edges` is int32[N + 1]; `mode` one of `facts.POOLINGS`, or several joined by "+". The first
    `left_out` tokens of each chunk are left out, by all modes but "lasttoken"; weights of
    "weightedmean" count them all the same. A chunk's rows are added in order, whatever lies
    around it, so that its bits do not depend on the batch.

    Raises:
        ValueError: an unknown mode.
    """
    if "+" in mode:
        return torch.cat([pool(hidden, edges, each, left_out) for each in mode.split("+")], dim=1)
    begins, ends = edges[:-1], edges[1:]
    if mode == "lasttoken":
        return hidden[ends.long() - 1].float()
    if mode == "cls":
        return hidden[torch.where(ends - begins > left_out, begins + left_out, begins).long()].float()
    if mode == "mean_sqrt_len_tokens":
        return pool_rows(hidden, edges, "mean", left_out) * (ends - begins - left_out).clamp(min=0).sqrt()[:, None]
    if mode not in ("mean", "max", "weightedmean"):
        raise ValueError(f"unknown pooling {mode!r}")
    return pool_rows(hidden, edges, mode, left_out)
