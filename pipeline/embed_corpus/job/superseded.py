"""Of rows that share an id the newest stands (`--on-duplicate last`): which rows of each shard a later one supersedes.

Newest is what comes last in the plan's order: by relative path, then by row, so a dump named by its day supersedes
those of earlier days. That holds whatever the row's text is: with an empty text as its newest row a document is gone.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.source.columns import Columns
from embed_corpus.source.marks import marks_of
from embed_corpus.source.plan import Plan
from embed_corpus.source.read import read_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.data import Shard

__all__ = ["superseded_rows", "without_superseded"]

_NO_ID = b"\0" * 16


def superseded_rows(shards: Sequence[Shard], id_column: str) -> dict[str, str]:
    """Read the ids of all shards, and mark by shard id the rows that a later one supersedes; no other shard is told.

    Ids are compared by a 128-bit hash; with the sorting that takes some 40 bytes of memory a row.

    Raises:
        DataError: a source can no longer be read.
    """
    columns = Columns((), id_column)
    halves = np.zeros((sum(shard.n_rows for shard in shards), 2), np.uint64)
    begin = 0
    for shard in shards:
        _hash_ids(shard, columns, halves[begin : begin + shard.n_rows])
        begin += shard.n_rows
    order = np.lexsort((halves[:, 0], halves[:, 1]))  # stable: rows of one id stay in the plan's order
    same = (halves[order[1:]] == halves[order[:-1]]).all(axis=1)
    gone = np.zeros(len(halves), bool)
    gone[order[:-1][same]] = True
    gone &= halves.any(axis=1)
    edges = np.cumsum([0, *(shard.n_rows for shard in shards)]).tolist()
    marks = {
        shard.id: marks_of(gone[begin:end], shard.first_row)
        for shard, begin, end in zip(shards, edges[:-1], edges[1:], strict=True)
    }
    return {shard: marked for shard, marked in marks.items() if marked}


def without_superseded(plan: Plan, marks: dict[str, str]) -> Plan:
    """Return the plan in which each shard knows its superseded rows; they are part of what the shard is.

    Shards without any keep their id.
    """
    return Plan(tuple(_marked(shard, marks.get(shard.id, "")) for shard in plan.shards))


def _marked(shard: Shard, marks: str) -> Shard:
    if not marks:
        return shard
    digest = blake2b(f"{shard.id} without {marks}".encode(), digest_size=10).hexdigest()
    return replace(shard, id=digest, superseded=marks)


def _hash_ids(shard: Shard, columns: Columns, halves: NDArray[np.uint64]) -> None:
    """Fill in the hash of each row's id, uint64[rows, 2]; zeros stay for rows without one that can be read."""
    for ids, rows in read_ids(shard, columns):
        digests = b"".join(
            _NO_ID if doc_id is None else blake2b(doc_id.encode(), digest_size=16).digest() for doc_id in ids
        )
        halves[rows - shard.first_row] = np.frombuffer(digests, np.uint64).reshape(-1, 2)
