"""Read some rows of a plan, spread over all of it: the same ones each time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_corpus.data import Rows
from embed_corpus.source.formats.base import Wanted
from embed_corpus.source.formats.table import format_named
from embed_corpus.source.read import read_shard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embed_corpus.source.columns import Columns
    from embed_corpus.source.plan import Plan

__all__ = ["BEGINNING", "Places", "beginnings", "every_nth", "read_places", "spread"]

BEGINNING = 16 << 10
"""Characters of a document that serve as a sample of it."""


@dataclass(frozen=True, slots=True)
class Places:
    """Runs of rows, one in each stratum; the strata are equal stretches of the plan's rows.

    Attributes:
        edges: int64[n + 1], first row of each stratum, counted over the plan, then all rows.
        rows: the rows of each place, int64 each, counted over the plan, in the order drawn.
    """

    edges: NDArray[np.int64]
    rows: tuple[NDArray[np.int64], ...]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each place, int64[n]."""
        return np.array([len(rows) for rows in self.rows], np.int64)


def spread(n_rows: int, n_places: int, rows_each: int, dice: np.random.Generator) -> Places:
    """Draw a place of at most `rows_each` rows in each of `n_places` equal stretches of `n_rows` rows.

    A place that reaches its stretch's end goes on at its begin, so that every row has the same chance.
    """
    n_places = max(1, min(n_places, n_rows))
    edges = np.arange(n_places + 1, dtype=np.int64) * n_rows // n_places
    rows = []
    for first, size in zip(edges[:-1].tolist(), np.diff(edges).tolist(), strict=True):
        taken = min(size, rows_each)
        begin = int(dice.integers(size)) if taken < size else 0
        rows.append(first + (begin + np.arange(taken, dtype=np.int64)) % max(size, 1))
    return Places(edges, tuple(rows))


def every_nth(rows: NDArray[np.int64], n: int, dice: np.random.Generator) -> NDArray[np.int64]:
    """Choose n rows, evenly spaced from a random one on; all if there are no more."""
    n = min(n, len(rows))
    if not n:
        return rows
    return rows[((np.arange(n) + dice.random()) * len(rows) / n).astype(np.int64)]


def read_places(
    plan: Plan, places: Places, columns: Columns, keep_types: dict[str, pa.DataType]
) -> Iterator[tuple[NDArray[np.int64], Rows]]:
    """Yield the documents at some places, block by block, and for each its row, int64[n], counted over the plan.

    Raises:
        DataError: a file can no longer be read.
    """
    wanted = np.sort(np.concatenate(places.rows))
    firsts = np.cumsum([0, *(shard.n_rows for shard in plan.shards)])
    cuts = np.searchsorted(wanted, firsts)
    chosen: dict[str, list[Wanted]] = defaultdict(list)
    for shard, first, begin, end in zip(plan.shards, firsts.tolist(), cuts[:-1], cuts[1:], strict=False):
        if begin < end:
            chosen[shard.path].append(Wanted(shard, wanted[begin:end] - first, wanted[begin:end]))
    for parts in chosen.values():
        for part in format_named(parts[0].shard.format).places(parts):
            yield from _read_between(part, columns, keep_types)


def _read_between(
    part: Wanted, columns: Columns, keep_types: dict[str, pa.DataType]
) -> Iterator[tuple[NDArray[np.int64], Rows]]:
    """Read from the first wanted row to the last, and drop what lies between."""
    first, begin, end = part.shard.first_row, int(part.rows[0]), int(part.rows[-1]) + 1
    narrow = replace(part.shard, first_row=first + begin, n_rows=end - begin)
    left = narrow.n_rows
    for rows in read_shard(narrow, columns, keep_types):
        left -= len(rows.rows) + len(rows.rejects)
        local = rows.rows - first
        near = np.searchsorted(part.rows, local)  # np.isin sorts both each time: half of the time, measured
        good = np.flatnonzero(part.rows[near] == local)
        if len(good):
            yield part.numbers[near[good]], Rows(rows.table.take(pa.array(good)), rows.rows[good], ())
        if not left:
            break  # what is behind in the same row group need not be decoded


def beginnings(texts: pa.StringArray) -> list[str]:
    """Return how each text begins, without a Python string of all of it."""
    found: list[str] = pc.utf8_slice_codeunits(texts, 0, BEGINNING).to_pylist()
    return found
