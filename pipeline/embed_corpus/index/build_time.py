"""How long an index will take, from what FAISS multiplies on this machine in a tenth of a second."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.index.check import threads_for
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
_CODE_ROUNDS, _ROTATIONS, _CODE_ROUNDS_A_ROTATION = 25, 50, 4
"""Of k-means for each part of a product quantiser; of OPQ, each of which trains one."""
_CODE_SECONDS = 1e-9
"""Of one core, to compare a vector that is coded with a centroid of a part."""
_POINTS_A_CODE = 256
"""Training vectors that FAISS takes for each centroid, at most."""
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
    coding = 0.0 if choice.factory.startswith("B") else _coding_seconds(choice, dim, new, trained=bool(begin))
    return 2 * width * products / _speed(dim) + (2 * new + rows) * width * 4 / _READ_BYTES + walking + coding + 3


def _coding_seconds(choice: Choice, dim: int, new: int, *, trained: bool) -> float:
    """Seconds to train a product quantiser, and the rotation before it, and to code new vectors; 0 without."""
    import faiss

    found = re.search(r"(?<!O)PQ(\d+)(?:x(\d+))?", choice.factory)
    if not found:
        return 0.0
    m, n_codes = int(found[1]), 1 << int(found[2] or 8)
    seconds = new * n_codes * m * _CODE_SECONDS / int(faiss.omp_get_max_threads())
    if trained:
        return seconds
    n_train = min(choice.n_train, _POINTS_A_CODE * n_codes)
    rounds = _CODE_ROUNDS
    if "OPQ" in choice.factory:
        rounds += _ROTATIONS * _CODE_ROUNDS_A_ROTATION
        seconds += _ROTATIONS * 2 * (2 * n_train + 20 * dim) * dim**2 / _speed(dim)
    with threads_for(choice.n_train):
        return seconds + rounds * m * _round_seconds(n_train, n_codes, max(1, dim // m))


def _round_seconds(n: int, n_codes: int, dim: int) -> float:
    """Seconds to find the nearest of `n_codes` centroids for `n` vectors of so few numbers, 0.3 to 4 ns for each."""
    import faiss

    most = min(n, 1 << 16), min(n_codes, 256)
    vectors = np.random.default_rng(0).normal(size=(max(most), dim)).astype(np.float32)
    faiss.knn(vectors[:64], vectors[:64], 1)
    begin = time.perf_counter()
    faiss.knn(vectors[: most[0]], vectors[: most[1]], 1)
    return (time.perf_counter() - begin) * n * n_codes / (most[0] * most[1])


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
