"""How long an index will take, from what FAISS multiplies on this machine in a tenth of a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.index.sample import HELD_OUT

if TYPE_CHECKING:
    from embed_corpus.index.choose import Choice

__all__ = ["predicted_seconds"]

_ROUNDS = 10
"""Of k-means."""
_READ_BYTES = 300e6
"""A second from Parquet, measured on one core."""
_WALK_SECONDS, _WALK_SECONDS_A_DIM = 45e-6, 0.2e-6
"""Of one core, to find a vector's place in an HNSW: over 20,000 to 1,000,000 vectors of 64 to 1,024 numbers."""
_DEEP = 2
"""Times as long as for the nearest alone takes a search for the 200 nearest."""


def predicted_seconds(rows: int, dim: int, choice: Choice, begin: int = 0) -> float:
    """Return the seconds that building an index of `rows` and measuring it will take, within a factor of two or so.

    Where `begin` of them are in an index that is extended, they are but measured.
    """
    import faiss

    new, width = rows - begin, dim / 32 if choice.factory.startswith("B") else dim
    training = 0 if begin else choice.n_train * choice.n_lists * _ROUNDS
    graph_over_lists = "_HNSW" in choice.factory  # over which k-means searches exactly all the same
    products = training + (0 if graph_over_lists else new * choice.n_lists) + _DEEP * rows * HELD_OUT
    walks = new if graph_over_lists or choice.family == "hnsw" else 0
    walking = walks * (_WALK_SECONDS + _WALK_SECONDS_A_DIM * width) / int(faiss.omp_get_max_threads())
    return 2 * width * products / _speed(dim) + (2 * new + rows) * width * 4 / _READ_BYTES + walking + 3


def _speed(dim: int) -> float:
    """Floating-point operations a second of an exact search: FAISS may bring a slower BLAS than NumPy's."""
    import faiss

    vectors = np.ones((2048, dim), np.float32)
    faiss.knn(vectors, vectors, 1, metric=faiss.METRIC_INNER_PRODUCT)
    begin, n = time.perf_counter(), 0
    while time.perf_counter() - begin < 0.1:
        faiss.knn(vectors, vectors, 1, metric=faiss.METRIC_INNER_PRODUCT)
        n += 1
    return 2 * vectors.size * len(vectors) * n / (time.perf_counter() - begin)
