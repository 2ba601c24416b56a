"""Search quality against judgements, exact and through the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.errors import DataError
from embed_corpus.index.ids import taken
from embed_corpus.index.judged import METRICS, scores_of
from embed_corpus.index.quality import exact_search
from embed_corpus.index.search import best_documents, open_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.index.judged import Qrels
    from embed_corpus.index.search import Found
    from embed_corpus.sink.layout import Layout

__all__ = ["Evaluation", "evaluate"]

_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over the queries that have a relevant document: by exact search, and through the index."""

    index: str
    n_queries: int
    n_unjudged: int
    exact: dict[str, float]
    through_index: dict[str, float]


def evaluate(layout: Layout, ids: Sequence[str], queries: NDArray[np.float32], qrels: Qrels) -> Evaluation:
    """Rank documents for queries [n, dim] by their best chunk, both ways, and judge the rankings.

    Raises:
        UsageError: OUT has no index of the current parts. DataError: no query is judged. OutputError: damage.
    """
    opened = open_index(layout)
    judged = [i for i, name in enumerate(ids) if any(r > 0 for r in qrels.get(name, {}).values())]
    if not judged:
        raise DataError(
            f"no query (the first is {ids[0]!r}) has a relevant document in the judgements: do the ids match?"
        )
    wanted = queries[judged]
    ready = opened.prepared(wanted)

    def exactly(n: int) -> Found:
        return exact_search(opened.vectors.blocks(), ready, n)

    def indexed(n: int) -> Found:
        return opened.search(wanted, n)

    means = []
    for find in (exactly, indexed):
        _, rows = best_documents(find, opened.ids, _DEPTH, opened.index.ntotal)
        rankings = [taken(opened.ids.select(["doc_id"]), r[r >= 0])["doc_id"].to_pylist() for r in rows]
        table = [scores_of(ranking, qrels[ids[i]]) for i, ranking in zip(judged, rankings, strict=True)]
        means.append(dict(zip(METRICS, np.mean(table, axis=0).tolist(), strict=True)))
    return Evaluation(opened.manifest["type"], len(judged), len(ids) - len(judged), *means)
