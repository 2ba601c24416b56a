"""Measure an index on vectors that it was never trained on, and say what that showed."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.index.quality import measure, truth_of
from embed_corpus.index.sample import HELD_OUT
from embed_corpus.report.steps import steps

if TYPE_CHECKING:
    from typing import TextIO

    from numpy.typing import NDArray

    from embed_corpus.index.rows import Vectors

__all__ = ["measured", "questions", "tell_below_target"]

log = logging.getLogger("embed_corpus")


def questions(held_out: NDArray[np.int64], begin: int, n_vectors: int) -> NDArray[np.int64]:
    """Return the vectors to ask: those held out, in parts replaced by some of those from `begin` on, which are new."""
    if not begin or not (n_new := HELD_OUT * (n_vectors - begin) // n_vectors):
        return held_out
    dice = np.random.default_rng(begin)
    fresh = dice.choice(n_vectors - begin, n_new) + begin
    return np.unique(np.concatenate([dice.choice(held_out, max(len(held_out) - n_new, 1), replace=False), fresh]))


def measured(
    index: Any, vectors: Vectors, own: NDArray[np.int64], target: float, stream: TextIO | None
) -> dict[str, Any]:
    """Search the vectors `own` exactly and through the index, tuned to the `target`; what goes into index.json.

    Raises:
        OutputError: a part is damaged.
    """
    log.info("searching %s held-out vectors, exactly and through the index", f"{len(own):,}")
    blocks = steps(vectors.blocks(), vectors.n_rows, lambda block: len(block[1]), "searching", stream)
    quality = measure(index, truth_of(blocks, vectors.take(own), own, vectors.take), target)
    log.info(
        "recall@10 %.3f (@1 %.3f, @100 %.3f), %s queries/s on one thread",
        *(quality["recall"][k] for k in ("10", "1", "100")),
        f"{quality['queries_per_second']['batch_on_one_thread']:,}",
    )
    return quality


def tell_below_target(recall: float, target: float, factory: str) -> None:
    """Warn of an index that is kept all the same, and say what to take."""
    floats = not re.search(r"SQ|PQ|PCA", factory)
    log.warning(
        "recall@10 is %.3f, below --target-recall %s: more effort gives hardly more with this type. Take %s",
        recall,
        target,
        "--type ivf, or flat (exact)" if floats else "--type ivf --target-recall 0.99, which keeps floats",
    )
