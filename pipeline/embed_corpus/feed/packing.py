"""Packed batches: chunks laid end to end up to a token budget, in order, without padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.data import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.data import Chunks

__all__ = ["CPU_BUDGET", "MIN_TOKENS", "Packer", "make_batch", "pack_all", "split_batch"]

MIN_TOKENS = 256
"""A shorter batch is filled up: below, the CPU's matrix kernels change the last bit of up to
10 % of the vectors with the shape; from there on no vector differs (measured)."""
CPU_BUDGET = 1024
"""On a CPU throughput is flat from 512 to 2,048 tokens and falls beyond (benchmarks/LOG.md)."""


class Packer:
    """Packs the chunks of successive blocks, in order, into batches of at most `budget` tokens.

    A batch may hold chunks of several blocks; a chunk over the budget has a batch of its own.
    With `static`, every batch is filled up to the budget, for devices that want one shape.

    Attributes:
        budget: may be lowered between calls, to no less than the longest chunk.
    """

    def __init__(self, budget: int, *, static: bool = False) -> None:
        self.budget = budget
        self._static = static
        self._ids: list[NDArray[np.int32]] = []
        self._lengths: list[NDArray[np.int32]] = []
        self._filled = 0

    def add(self, chunks: Chunks) -> Iterator[Batch]:
        """Take chunks and yield the batches they fill; what is left waits for the next call."""
        return self.add_ids(chunks.input_ids, chunks.n_tokens)

    def add_ids(self, input_ids: NDArray[np.int32], lengths: NDArray[np.int32]) -> Iterator[Batch]:
        """Do what `add` does with ids laid end to end, int32[T], and the chunks' lengths, int32[N]."""
        ends = np.cumsum(lengths, dtype=np.int64)
        first = begin = 0
        while first < len(lengths):
            stop = int(np.searchsorted(ends, begin + self.budget - self._filled, "right"))
            if stop <= first:
                if self._filled:
                    yield from self.flush()
                    continue
                stop = first + 1
            end = int(ends[stop - 1])
            self._ids.append(input_ids[begin:end])
            self._lengths.append(lengths[first:stop])
            self._filled += end - begin
            first, begin = stop, end

    def flush(self) -> Iterator[Batch]:
        """Yield what waits as a batch, if anything does."""
        if self._lengths:
            shape = self.budget if self._static else MIN_TOKENS
            batch = make_batch(np.concatenate(self._ids), np.concatenate(self._lengths), shape)
            self._ids, self._lengths, self._filled = [], [], 0
            yield batch


def make_batch(input_ids: NDArray[np.int32], lengths: NDArray[np.int32], shape: int = MIN_TOKENS) -> Batch:
    """Build one batch from ids laid end to end (int32[T]) and the chunks' lengths (int32[N]).

    Fewer tokens than `shape` are filled up with padding that belongs to no chunk.
    """
    cu_seqlens = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=cu_seqlens[1:])
    positions = np.arange(len(input_ids), dtype=np.int32) - np.repeat(cu_seqlens[:-1], lengths)
    if len(input_ids) < shape:
        filler = np.zeros(shape - len(input_ids), np.int32)
        input_ids, positions = np.concatenate([input_ids, filler]), np.concatenate([positions, filler])
    return Batch(input_ids, positions, cu_seqlens, int(lengths.max()))


def pack_all(packer: Packer, chunks: Sequence[NDArray[np.int32]]) -> list[Batch]:
    """Pack chunks, ids each, and what is left at the end."""
    lengths = np.array([len(ids) for ids in chunks], np.int32)
    return [*packer.add_ids(np.concatenate(chunks), lengths), *packer.flush()]


def split_batch(batch: Batch, budget: int) -> list[Batch]:
    """Pack a batch's chunks again into batches of exactly `budget` tokens, padding included."""
    packer = Packer(budget, static=True)
    lengths = np.diff(batch.cu_seqlens)
    return [*packer.add_ids(batch.input_ids[: batch.cu_seqlens[-1]], lengths), *packer.flush()]
