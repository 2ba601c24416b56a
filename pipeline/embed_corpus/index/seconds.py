"""How long an index will take, from what this machine multiplies in a tenth of a second."""

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
_GRAPH_SECONDS = 1.5e-6
"""To put a vector into an HNSW, for each of its dimensions."""


def predicted_seconds(rows: int, dim: int, choice: Choice) -> float:
    """Return the seconds that building an index and measuring it will take, within a factor of two or so."""
    training = choice.n_train * choice.n_lists * _ROUNDS
    products = training + rows * choice.n_lists + rows * HELD_OUT
    graph = rows * dim * _GRAPH_SECONDS if choice.family == "hnsw" else 0.0
    return 2 * dim * products / _speed() + 3 * rows * dim * 4 / _READ_BYTES + graph + 3


def _speed() -> float:
    """Floating-point operations a second of a product of matrices."""
    a = np.ones((768, 768), np.float32)
    a @ a
    begin, n = time.perf_counter(), 0
    while time.perf_counter() - begin < 0.1:
        a @ a
        n += 1
    return float(2 * 768**3 * n / (time.perf_counter() - begin))
