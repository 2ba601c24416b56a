"""Which vectors an index is trained on, and which are held out to measure it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.index.rows import Vectors

__all__ = ["HELD_OUT", "Draw", "draw"]

HELD_OUT = 1000
"""Vectors that no index is trained on; they are its questions."""
_FEW = 20
"""Without one of fewer, codes could not even tell the rest apart."""
_READ = 4
"""Times as many vectors are read as are drawn, at most: row groups are read whole, not all of a large corpus."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Row numbers in ascending order: to train on, and held out."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def draw(vectors: Vectors, n_train: int, seed: int = 0) -> Draw:
    """Draw from all parts, or from row groups chosen at random where the parts are many times the sample.

    The same parts, number and seed give the same rows. A tenth of a small corpus is held out at most; fewer
    than 20 rows are all trained on, too.
    """
    dice = np.random.default_rng(seed)
    n_held = max(1, min(HELD_OUT, vectors.n_rows // 10))
    wanted = min(n_train + n_held, vectors.n_rows)
    groups = [vectors.groups[i] for i in dice.permutation(len(vectors.groups))]
    enough = 1 + int(np.searchsorted(np.cumsum([group.n_rows for group in groups]), _READ * wanted))
    candidates = np.concatenate([np.arange(g.first, g.first + g.n_rows) for g in groups[:enough]])
    drawn = dice.choice(candidates, wanted, replace=False)
    return Draw(np.sort(drawn[n_held if vectors.n_rows >= _FEW else 0 :]), np.sort(drawn[:n_held]))
