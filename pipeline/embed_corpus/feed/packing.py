"""Packed batches: chunks laid end to end up to a token budget, in order, without padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.data import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embed_corpus.data import Chunks

__all__ = ["Packer", "make_batch"]

MIN_TOKENS = 256
"""A shorter batch is filled up with a dummy text: below, the CPU's matrix kernels change the
last bit of up to 10 % of the vectors with the shape; from there on no vector differs (measured)."""


class Packer:
    """Packs the chunks of successive blocks, in order, into batches of at most `budget` tokens.

    A batch may hold chunks of several blocks; a chunk over the budget has a batch of its own.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._ids: list[NDArray[np.int32]] = []
        self._lengths: list[NDArray[np.int32]] = []
        self._filled = 0

    def add(self, chunks: Chunks) -> Iterator[Batch]:
        """Take chunks and yield the batches they fill; what is left waits for the next call."""
        ends = np.cumsum(chunks.n_tokens, dtype=np.int64)
        first = begin = 0
        while first < len(chunks):
            stop = int(np.searchsorted(ends, begin + self._budget - self._filled, "right"))
            if stop <= first:
                if self._filled:
                    yield from self.flush()
                    continue
                stop = first + 1
            end = int(ends[stop - 1])
            self._ids.append(chunks.input_ids[begin:end])
            self._lengths.append(chunks.n_tokens[first:stop])
            self._filled += end - begin
            first, begin = stop, end

    def flush(self) -> Iterator[Batch]:
        """Yield what waits as a batch, if anything does."""
        if self._lengths:
            batch = make_batch(np.concatenate(self._ids), np.concatenate(self._lengths))
            self._ids, self._lengths, self._filled = [], [], 0
            yield batch


def make_batch(input_ids: NDArray[np.int32], lengths: NDArray[np.int32]) -> Batch:
    """Build one batch from ids laid end to end (int32[T]) and the chunks' lengths (int32[N])."""
    n_chunks, missing = len(lengths), MIN_TOKENS - len(input_ids)
    if missing > 0:
        # No dummy is longer than a real text, so that none runs off the model's position table.
        full, rest = divmod(missing, longest := int(lengths.max()))
        input_ids = np.concatenate([input_ids, np.zeros(missing, np.int32)])
        lengths = np.concatenate([lengths, np.full(full, longest), [rest] if rest else []]).astype(np.int32)
    cu_seqlens = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    positions = np.arange(len(input_ids), dtype=np.int32) - np.repeat(cu_seqlens[:-1], lengths)
    return Batch(input_ids, positions, cu_seqlens, int(lengths.max()), n_chunks)
