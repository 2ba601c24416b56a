"""How good an index is: held-out vectors searched exactly and through it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.index.effort import TUNED_FOR, deep_enough, effort_of, full_search, tune
from embed_corpus.index.graph import taken_out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

__all__ = ["Truth", "exact_search", "measure", "queries_per_second", "recall_at", "searched_others", "truth_of"]

_DEPTH = 200
_TIE = 1e-6
"""Scores nearer than that are equal: the same text stands in many a corpus twice."""
_MARGIN = 0.005
"""Tuned on half of the questions for so much more than the target, which the other half has to show."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Questions (as the index takes them), their own row numbers, and their nearest others by exact search."""

    queries: NDArray[Any]
    own: NDArray[np.int64]
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]

    def half(self, which: int) -> Truth:
        """Return every other question; all, where there is but one."""
        pick = slice(which, None, 2) if len(self.own) > 1 else slice(None)
        return Truth(self.queries[pick], self.own[pick], self.scores[pick], self.rows[pick])

    def apart(self) -> Truth:
        """Leave all questions out of the answers: those of an index that does not hold them."""
        gone = np.isin(self.rows, self.own)
        order = np.argsort(gone, axis=1, kind="stable")
        scores, rows = np.where(gone, -np.inf, self.scores), np.where(gone, -1, self.rows)
        return Truth(self.queries, self.own, *(np.take_along_axis(a, order, axis=1) for a in (scores, rows)))


def exact_search(
    blocks: Iterable[tuple[int, NDArray[Any]]], queries: NDArray[Any], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Search blocks of (first row, vectors) one after the other; the `k` greatest inner products, best first.

    Of bits (uint8) the score is less the number that differ. Places that nothing fills have row -1.
    """
    import faiss

    heap = faiss.ResultHeap(len(queries), k, keep_max=True)
    for first, block in blocks:
        n = min(k, len(block))
        if queries.dtype == np.uint8:
            differing, rows = faiss.knn_hamming(queries, block, n)
            scores = -differing.astype(np.float32)
        else:
            scores, rows = faiss.knn(queries, block, n, metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(np.ascontiguousarray(scores), np.ascontiguousarray(rows.astype(np.int64) + first))
    heap.finalize()
    return heap.D, heap.I


def truth_of(blocks: Iterable[tuple[int, NDArray[Any]]], queries: NDArray[Any], own: NDArray[np.int64]) -> Truth:
    """Search rows of the index exactly among all others."""
    scores, rows = exact_search(blocks, queries, _DEPTH + 1)
    return Truth(queries, own, *_without_own(scores, rows, own))


def searched_others(index: Any, truth: Truth, k: int) -> NDArray[np.int64]:
    """Search an index for the questions, as `search` does; row numbers of the `k` best others, [n, k]."""
    with deep_enough(index, k):
        scores, rows = full_search(index, truth.queries, min(k + 1, index.ntotal))
    return _without_own(scores, rows, truth.own)[1][:, :k]


def _without_own(
    scores: NDArray[Any], rows: NDArray[np.int64], own: NDArray[np.int64]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Drop each question itself from what was found; where it was not found, the last."""
    drop = rows == own[:, None]
    drop[~drop.any(axis=1), -1] = True
    shape = (len(rows), rows.shape[1] - 1)
    return scores[~drop].reshape(shape), rows[~drop].reshape(shape)


def recall_at(truth: Truth, found: NDArray[np.int64], k: int) -> float:
    """Share of the `k` nearest that are among the first `k` found; of equally near ones any will do."""
    k = min(k, truth.rows.shape[1], int((truth.rows >= 0).sum(axis=1).min()))
    if not k:
        return 1.0
    good = truth.scores >= truth.scores[:, k - 1 : k] - _TIE * np.abs(truth.scores[:, k - 1 : k])
    shares = [
        min(k, int(np.isin(f[:k], rows[ok]).sum())) / k
        for f, rows, ok in zip(found, truth.rows, good & (truth.rows >= 0), strict=True)
    ]
    return float(np.mean(shares))


def measure(index: Any, truth: Truth, target: float) -> dict[str, Any]:
    """Tune an index on half of the questions, measure it on the other half; what goes into index.json."""
    import faiss

    effort = effort_of(index)
    with taken_out(index, truth.own) as out:
        asked = truth.apart() if out else truth
        ours, theirs, k = asked.half(0), asked.half(1), TUNED_FOR
        if effort is not None:
            tune(effort, lambda: recall_at(ours, searched_others(index, ours, k), k), target, _MARGIN)
        found = {n: searched_others(index, theirs, n) for n in (k, 100)}  # for more it looks further
    threads = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1)
        alone, batch = (
            queries_per_second(index, theirs.queries, 1),
            queries_per_second(index, theirs.queries, len(theirs.queries)),
        )
    finally:
        faiss.omp_set_num_threads(threads)
    return {
        "effort": {effort.name: effort.value} if effort else {},
        "recall": {str(n): round(recall_at(theirs, found[max(n, k)], n), 4) for n in (1, 10, 100)},
        "queries_measured": len(theirs.queries),
        "queries_per_second": {
            "one_by_one_on_one_thread": alone,
            "batch_on_one_thread": batch,
            f"batch_on_{threads}_threads": queries_per_second(index, theirs.queries, len(theirs.queries)),
        },
    }


def queries_per_second(index: Any, queries: NDArray[Any], at_once: int, seconds: float = 0.4) -> int:
    """Return queries/s of searches for 10 results with `at_once` queries, over some seconds at least."""
    index.search(queries[:at_once], min(10, index.ntotal))
    begin, n = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < seconds:
        at = n % len(queries)
        index.search(queries[at : at + at_once], min(10, index.ntotal))
        n += len(queries[at : at + at_once])
    return round(n / elapsed)
