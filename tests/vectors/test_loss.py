"""What vectors lose: the share of nearest neighbours that two spaces have in common."""

from __future__ import annotations

import numpy as np
import pytest

from embed_corpus.vectors.loss import neighbours_kept


def unit_rows(n: int, dim: int, seed: int) -> np.ndarray:
    """Random unit vectors."""
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def overlap(a: np.ndarray, b: np.ndarray, k: int = 10) -> float:
    """The share of the k nearest neighbours by inner product."""
    return neighbours_kept(a @ a.T, b @ b.T, k)


def test_overlap_of_neighbours() -> None:
    """Two spaces share all neighbours if they are one, turned or not, and few if they have nothing in common."""
    a = unit_rows(400, 32, 0)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((32, 32)))[0]
    assert overlap(a, a) == overlap(a, a @ turn) == 1.0
    assert overlap(a, unit_rows(400, 32, 1)) < 0.1


def test_overlap_counts() -> None:
    """The overlap is the mean share of common neighbours, a text not being its own."""
    line, swapped = (np.array([[np.cos(t), np.sin(t)] for t in ts]) for ts in ([0, 0.1, 1, 1.1], [0, 1, 0.1, 1.1]))
    assert overlap(line, line, k=1) == 1.0
    assert overlap(line, swapped, k=1) == 0.0
    assert overlap(line, swapped, k=2) == 0.75
    assert overlap(line, swapped) == 1.0  # of four texts, each has all three others as neighbours


@pytest.mark.parametrize("n", [0, 1])
def test_overlap_of_nothing(n: int) -> None:
    """Where there are no neighbours, none are lost."""
    assert overlap(unit_rows(n, 4, 0), unit_rows(n, 4, 1)) == 1.0
