"""Packed batches: chunks (or passes of several) laid end to end up to a token budget, in order, without padding."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.data import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.data import Chunks

__all__ = ["CPU_BUDGET", "MIN_TOKENS", "Packer", "alone", "make_batch", "pack_all", "split_batch"]

MIN_TOKENS = 256
"""A shorter batch is filled up: below, the CPU's matrix kernels change the last bit of up to
10 % of the vectors with the shape; from there on no vector differs (measured)."""
CPU_BUDGET = 1024
"""On a CPU throughput is flat from 512 to 2,048 tokens and falls beyond (benchmarks/LOG.md)."""


class Packer:
    """Packs the chunks of successive blocks, in order, into batches of at most `budget` tokens.

    A batch may hold chunks of several blocks; a text over the budget has a batch of its own.
    With `static`, every batch is filled up to the budget, for devices that want one shape.

    Attributes:
        budget: may be lowered between calls, to no less than the longest text.
        with_texts: batches shall hold the chunks' texts, so each call has to bring them.
    """

    def __init__(self, budget: int, *, static: bool = False, with_texts: bool = False) -> None:
        self.budget, self.with_texts = budget, with_texts
        self._static = static
        self._ids: list[NDArray[np.int32]] = []
        self._lengths: list[NDArray[np.int32]] = []
        self._pooled: list[NDArray[np.int32]] = []
        self._texts: list[str] = []
        self._filled = 0

    def add(self, chunks: Chunks) -> Iterator[Batch]:
        """Take chunks and yield the batches they fill; what is left waits for the next call."""
        return self.add_ids(chunks.input_ids, chunks.n_tokens, chunks.passes)

    def add_ids(
        self,
        input_ids: NDArray[np.int32],
        lengths: NDArray[np.int32],
        passes: NDArray[np.int32] | None = None,
        texts: Sequence[str] | None = None,
    ) -> Iterator[Batch]:
        """Do what `add` does with ids laid end to end, int32[T], and the chunks' lengths, int32[N].

        With `passes`, int32[M], the lengths of texts that are several chunks each, for all calls or none. `texts` are
        the chunks', for a packer `with_texts`.
        """
        chunks, lengths = lengths, lengths if passes is None else passes
        edges = None if passes is None else np.cumsum(chunks, dtype=np.int64)
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
            those = slice(first, stop)
            if edges is not None:
                those = slice(*edges.searchsorted([begin, end], "right").tolist())
                self._pooled.append(chunks[those])
            if texts is not None:
                self._texts += texts[those]
            self._filled += end - begin
            first, begin = stop, end

    def flush(self) -> Iterator[Batch]:
        """Yield what waits as a batch, if anything does."""
        if self._lengths:
            shape = self.budget if self._static else MIN_TOKENS
            pooled = np.concatenate(self._pooled) if self._pooled else None
            batch = make_batch(np.concatenate(self._ids), np.concatenate(self._lengths), shape, pooled)
            if self.with_texts:
                batch = replace(batch, texts=tuple(self._texts))
            self._ids, self._lengths, self._pooled, self._texts, self._filled = [], [], [], [], 0
            yield batch


def make_batch(
    input_ids: NDArray[np.int32],
    lengths: NDArray[np.int32],
    shape: int = MIN_TOKENS,
    pooled: NDArray[np.int32] | None = None,
) -> Batch:
    """Build one batch from ids laid end to end (int32[T]) and the texts' lengths (int32[N]).

    Fewer tokens than `shape` are filled up with padding that belongs to no text. `pooled`: the chunks' lengths,
    int32[M], where a text may be several.
    """
    cu_seqlens = _edges(lengths)
    positions = np.arange(len(input_ids), dtype=np.int32) - np.repeat(cu_seqlens[:-1], lengths)
    if len(input_ids) < shape:
        filler = np.zeros(shape - len(input_ids), np.int32)
        input_ids, positions = np.concatenate([input_ids, filler]), np.concatenate([positions, filler])
    return Batch(input_ids, positions, cu_seqlens, int(lengths.max()), None if pooled is None else _edges(pooled))


def _edges(lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    edges = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=edges[1:])
    return edges


def pack_all(packer: Packer, chunks: Sequence[NDArray[np.int32]]) -> list[Batch]:
    """Pack chunks, ids each, and what is left at the end."""
    lengths = np.array([len(ids) for ids in chunks], np.int32)
    return [*packer.add_ids(np.concatenate(chunks), lengths), *packer.flush()]


def split_batch(batch: Batch, budget: int) -> list[Batch]:
    """Pack a batch's chunks again into batches of exactly `budget` tokens, padding included."""
    packer = Packer(budget, static=True, with_texts=batch.texts is not None)
    passes = None if batch.pooled is None else np.diff(batch.cu_seqlens)
    ids, lengths = batch.input_ids[: batch.cu_seqlens[-1]], np.diff(batch.chunk_edges)
    return [*packer.add_ids(ids, lengths, passes, batch.texts), *packer.flush()]


def alone(batch: Batch, chunks: NDArray[np.int64]) -> Iterator[tuple[Batch, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield each text that holds some of these chunks (by number) as a batch; with their numbers there, and here."""
    edges = batch.chunk_edges
    texts = batch.cu_seqlens.searchsorted(edges[chunks], "right") - 1
    for text in np.unique(texts).tolist():
        begin, end = batch.cu_seqlens[text : text + 2].tolist()
        first, last = edges.searchsorted([begin, end]).tolist()
        pooled = None if batch.pooled is None else np.diff(edges[first : last + 1])
        here = chunks[texts == text]
        lengths = np.array([end - begin], np.int32)
        yield make_batch(batch.input_ids[begin:end], lengths, pooled=pooled), here - first, here
