"""Which row of the position table each token of a batch takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.data import Batch

__all__ = ["positions_of"]


def positions_of(batch: Batch, offset: int) -> NDArray[np.int32]:
    """Return int32[T]: where each token stands in its text, from `offset` on.

    RoBERTa's family (the only one with an offset, its padding index + 1) takes a padding token for padding even where
    a text holds it ("<pad>" written out): it gets the padding index, and is not counted.
    """
    positions: NDArray[np.int32] = batch.position_ids + np.int32(offset)
    is_padding = batch.input_ids == offset - 1
    is_padding[batch.cu_seqlens[-1] :] = False
    if not offset or not is_padding.any():
        return positions
    counted = np.cumsum(is_padding, dtype=np.int32)
    firsts = batch.cu_seqlens[:-1]
    before = np.repeat(counted[firsts] - is_padding[firsts], np.diff(batch.cu_seqlens))
    positions[: len(before)] -= counted[: len(before)] - before
    positions[is_padding] = offset - 1
    return positions
