"""What dimensions, vector types and indexes would cost and find, tried on a sample of a result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.errors import UsageError
from embed_corpus.index.check import empty_index
from embed_corpus.index.choose import Request, choose
from embed_corpus.index.copies import copies_of
from embed_corpus.index.distinct import numbers_of
from embed_corpus.index.effort import effort_of, tune
from embed_corpus.index.quality import Truth, queries_per_second, recall_at, searched_others, truth_of
from embed_corpus.index.rows import Vectors, scale_rows
from embed_corpus.index.sample import draw
from embed_corpus.vectors.codec import Codec
from embed_corpus.vectors.ranges import Ranges
from embed_corpus.vectors.table import VECTOR_TYPES, vector_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["Advice", "advise"]

_INDEXES = ("flat", "hnsw", "ivf")
_LEAST_DIM = 32
_NOT_THERE = -2
"""Row number of a question that is in no index."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One combination: recall@10 of the vectors as they are now, bytes for all rows, queries/s on one thread."""

    dim: int
    vector_type: str
    index: str
    recall: float
    vector_bytes: int
    index_bytes: int
    queries_per_second: int


def advise(vectors: Vectors, n_sample: int, target: float) -> Iterator[Advice]:
    """Try every combination on a sample and yield what was seen; indexes are tuned to the recall `target`.

    Fewer dimensions are the first ones, scaled again. Recall is against exact search among the sampled
    vectors as they are stored now: it counts what dimension, vector type and index lose together.

    Raises:
        UsageError: there are too few vectors.
    """
    rows = draw(vectors, n_sample)
    if len(rows.train) < 100:
        raise UsageError(f"{vectors.n_rows} vectors are too few to advise on: at least 111 are needed.")
    both = np.sort(np.concatenate([rows.train, rows.held_out]))
    stored = vectors.codec.decode(
        np.concatenate([vectors.stored(g)[i] for g in vectors.groups if len(i := _inside(both, g))])
    )
    floats = scale_rows(stored) if vectors.scaled or vectors.binary else stored
    own = np.searchsorted(both, rows.held_out)
    others = np.delete(np.arange(len(both)), own)
    held = floats[others]
    truth = truth_of([(0, held)], floats[own], np.full(len(own), _NOT_THERE), lambda rows: held[rows])
    for dim in _dims(vectors):
        cut = scale_rows(floats[:, :dim]) if dim < floats.shape[1] else floats
        for kind in _types(vectors, dim):
            codec = Codec(kind, dim, Ranges.over(cut) if vector_type(kind).needs_ranges else None)
            ready = codec.encode(cut) if codec.type.binary else codec.decode(codec.encode(cut))
            asked = replace(truth, queries=np.ascontiguousarray(ready[own]))
            exact = 1.0
            for index in _INDEXES:
                tried = _tried(index, ready[others], asked, codec, vectors.n_rows, target * exact)
                exact = tried.recall if index == "flat" else exact  # more than the codes keep, no index finds
                yield tried


def _inside(rows: NDArray[np.int64], group: Any) -> NDArray[np.int64]:
    a, b = np.searchsorted(rows, [group.first, group.first + group.n_rows])
    inside: NDArray[np.int64] = rows[a:b] - group.first
    return inside


def _dims(vectors: Vectors) -> list[int]:
    dim = vectors.codec.dim
    return [dim] if vectors.binary else [d for d in (dim, dim // 2, dim // 4) if d >= min(dim, _LEAST_DIM)]


def _types(vectors: Vectors, dim: int) -> list[str]:
    """Those that lose no less than what is stored now."""
    order = list(VECTOR_TYPES)
    return [kind for kind in order[order.index(vectors.codec.kind) :] if not Codec(kind, dim).problem()]


def _tried(kind: str, ready: NDArray[Any], asked: Truth, codec: Codec, n_rows: int, target: float) -> Advice:
    import faiss

    binary = codec.type.binary
    copies = copies_of(numbers_of([ready], len(ready)))  # as in an index, which holds equal ones once
    ready = ready[copies.rows[copies.starts[:-1]]]
    ample = Request(kind, 1 << 50, target)
    choice = choose(len(ready), codec.dim, ample, binary=binary)
    index = empty_index(choice.factory, codec.dim, binary=binary)
    if not index.is_trained:
        index.train(ready)
    index.add(ready)
    threads = faiss.omp_get_max_threads()
    if (effort := effort_of(index)) is not None:
        tune(effort, lambda: recall_at(asked, searched_others(index, asked, 10, copies), 10), target)
    recall = recall_at(asked, searched_others(index, asked, 10, copies), 10)
    try:
        faiss.omp_set_num_threads(1)
        speed = queries_per_second(index, asked.queries, len(asked.queries), 0.1)
    finally:
        faiss.omp_set_num_threads(threads)
    n_vectors = n_rows * len(ready) // len(copies.rows)
    size = choose(n_vectors, codec.dim, ample, binary=binary).n_bytes
    return Advice(codec.dim, codec.kind, choice.factory, recall, n_rows * codec.n_bytes, size, speed)
