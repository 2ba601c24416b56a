"""How good an index is: held-out vectors searched exactly and through it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.index.effort import TUNED_FOR, deep_enough, effort_of, full_search, tune
from embed_corpus.index.graph import taken_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from embed_corpus.index.copies import Copies

__all__ = ["Truth", "exact_search", "measure", "queries_per_second", "recall_at", "searched_others", "truth_of"]

_DEPTH = 200
_TIE = 1e-6
"""Scores nearer than that are equal: the same text stands in many a corpus twice."""
_PAIRS = 8192
"""Questions and rows that are compared together."""
_MARGIN = 0.005
"""Tuned on half of the questions for so much more than the target, which the other half has to show."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Questions (as the index takes them), their own row numbers, and their nearest others by exact search.

    `asked` are the questions as they were searched exactly, and `take` gives the vectors of rows (ascending) to compare
    with them: what is as near as the last that is listed is looked at itself. `left_out` are rows that are no answers.
    """

    queries: NDArray[Any]
    own: NDArray[np.int64]
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    asked: NDArray[Any]
    take: Callable[[NDArray[np.int64]], NDArray[Any]] | None = None
    left_out: NDArray[np.int64] | None = None

    def half(self, which: int) -> Truth:
        """Return every other question; all, where there is but one."""
        pick = slice(which, None, 2) if len(self.own) > 1 else slice(None)
        picked = {name: getattr(self, name)[pick] for name in ("queries", "own", "scores", "rows", "asked")}
        return replace(self, **picked)

    def apart(self) -> Truth:
        """Leave all questions out of the answers: those of an index that does not hold them."""
        gone = np.isin(self.rows, self.own)
        order = np.argsort(gone, axis=1, kind="stable")
        scores, rows = np.where(gone, -np.inf, self.scores), np.where(gone, -1, self.rows)
        scores, rows = (np.take_along_axis(a, order, axis=1) for a in (scores, rows))
        return replace(self, scores=scores, rows=rows, left_out=self.own)

    def is_right(self, found: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
        """Tell which rows found [n, m] are as near as the `k`-th nearest, of which there have to be so many."""
        worst = self.scores[:, k - 1 : k]
        least = worst - _TIE * np.maximum(np.abs(worst), np.abs(self.scores[:, :1]))
        known = self.rows >= 0
        near = np.where((self.scores >= least) & known, self.rows, -1)
        listed = [np.isin(f, rows) for f, rows in zip(found, near, strict=True)]
        right: NDArray[np.bool_] = np.array(listed, np.bool_).reshape(found.shape) & (found >= 0)
        goes_on = np.where(known, self.scores, np.inf).min(axis=1) >= least[:, 0]  # as many as are listed are as near
        if self.take is None or not goes_on.any():
            return right
        others = np.array([~np.isin(f, rows) for f, rows in zip(found, self.rows, strict=True)]).reshape(found.shape)
        others &= goes_on[:, None] & (found >= 0) & (found != self.own[:, None])
        others &= ~np.isin(found, self.left_out) if self.left_out is not None else True
        which, places = np.nonzero(others)
        right[which, places] = self._scores_of(which, found[which, places]) >= least[which, 0]
        return right

    def _scores_of(self, which: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Compare questions with rows, pair by pair."""
        assert self.take is not None
        scores, order = np.empty(len(rows)), np.argsort(rows, kind="stable")
        for at in range(0, len(rows), _PAIRS):
            pairs = order[at : at + _PAIRS]
            unique, places = np.unique(rows[pairs], return_inverse=True)
            vectors, asked = self.take(unique)[places], self.asked[which[pairs]]
            if asked.dtype == np.uint8:
                scores[pairs] = -np.unpackbits(vectors ^ asked, axis=1).sum(axis=1, dtype=np.int64)
            else:
                scores[pairs] = np.einsum("ij,ij->i", vectors, asked, dtype=np.float64)
        return scores


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


def truth_of(
    blocks: Iterable[tuple[int, NDArray[Any]]],
    queries: NDArray[Any],
    own: NDArray[np.int64],
    take: Callable[[NDArray[np.int64]], NDArray[Any]] | None = None,
) -> Truth:
    """Search rows of the index exactly among all others; `take` gives the vectors of some rows, as in `Truth`."""
    scores, rows = exact_search(blocks, queries, _DEPTH + 1)
    return Truth(queries, own, *_without_own(scores, rows, own), queries, take)


def searched_others(index: Any, truth: Truth, k: int, copies: Copies | None = None) -> NDArray[np.int64]:
    """Search an index for the questions, as `search` does; row numbers of the `k` best others, [n, k].

    `copies` are the rows of its vectors, where it holds equal ones once.
    """
    with deep_enough(index, k):
        scores, rows = full_search(index, truth.queries, min(k + 1, index.ntotal))
    if copies is not None:
        scores, rows = copies.expanded(-scores if truth.queries.dtype == np.uint8 else scores, rows, k + 1)
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
    """Share of the `k` first found that are as near as the `k` nearest; of equally near ones any will do."""
    k = min(k, truth.rows.shape[1], int((truth.rows >= 0).sum(axis=1).min()))
    return float(truth.is_right(found[:, :k], k).sum(axis=1).mean() / k) if k else 1.0


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
