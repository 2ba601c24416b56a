"""Search quality against judgements, exact and through the index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_corpus.errors import DataError
from embed_corpus.index.ids import taken
from embed_corpus.index.judgements import METRICS, scores_of
from embed_corpus.index.quality import exact_search
from embed_corpus.index.search import best_documents

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from embed_corpus.index.judgements import Qrels
    from embed_corpus.index.search import Found, OpenIndex

__all__ = ["Evaluation", "evaluate"]

_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Means over the queries that have a relevant document: by exact search, and through the index.

    `n_unknown` relevant documents are not in OUT: no search finds them.
    """

    index: str
    n_queries: int
    n_unjudged: int
    n_unknown: int
    exact: dict[str, float]
    through_index: dict[str, float]


def evaluate(
    opened: OpenIndex, ids: Sequence[str], embed: Callable[[list[int]], NDArray[np.float32]], qrels: Qrels
) -> Evaluation:
    """Rank documents for queries by their best chunk, both ways, and judge the rankings.

    `embed` gives the vectors [n, dim] of those `ids` that are judged, by their places: it is not asked for others.

    Raises:
        DataError: no query is judged, or no relevant document is in OUT, which is told before anything is embedded.
        UsageError: a part was made again since. OutputError: damage.
    """
    judged = [i for i, name in enumerate(ids) if any(r > 0 for r in qrels.get(name, {}).values())]
    if not judged:
        raise DataError(
            f"no query (the first is {ids[0]!r}) has a relevant document in the judgements: do the ids match?"
        )
    relevant = {doc for i in judged for doc, r in qrels[ids[i]].items() if r > 0}
    n_known = _known(opened.ids, relevant)
    if not n_known:
        raise DataError(
            f"none of the {len(relevant):,} relevant documents, e.g. {min(relevant)!r}, is in {opened.layout.root}."
        )
    assert opened.among is None
    vectors = opened.vectors
    assert vectors.n_rows == opened.index.ntotal  # reads the parts' footers: they are all there
    wanted = embed(judged)
    ready = opened.prepared(wanted)

    def exactly(n: int) -> Found:
        return opened.rows_of(*exact_search(vectors.blocks(), ready, min(n, vectors.n_rows)), n)

    def indexed(n: int) -> Found:
        return opened.search(wanted, n)

    means = []
    for find in (exactly, indexed):
        _, rows = best_documents(find, opened.ids, _DEPTH, opened.n_rows)
        rankings = [taken(opened.ids.select(["doc_id"]), r[r >= 0])["doc_id"].to_pylist() for r in rows]
        table = [scores_of(ranking, qrels[ids[i]]) for i, ranking in zip(judged, rankings, strict=True)]
        means.append(dict(zip(METRICS, np.mean(table, axis=0).tolist(), strict=True)))
    return Evaluation(opened.manifest.type, len(judged), len(ids) - len(judged), len(relevant) - n_known, *means)


def _known(ids: pa.Table, documents: set[str]) -> int:
    """Count those that are in the index."""
    wanted = pa.array(sorted(documents), pa.string())
    found = [batch["doc_id"].filter(pc.is_in(batch["doc_id"], value_set=wanted)) for batch in ids.to_batches()]
    return int(pc.count_distinct(pa.chunked_array(found, pa.string())).as_py())
