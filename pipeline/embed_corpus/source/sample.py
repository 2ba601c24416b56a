"""Read some rows of a plan, spread over all of it: the same ones each time."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_corpus.data import Rows
from embed_corpus.source.formats import kind_at
from embed_corpus.source.jsonl import lines, open_stream
from embed_corpus.source.read import read_shard
from embed_corpus.store.paths import arrow_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.data import Shard
    from embed_corpus.source.inspect import Columns
    from embed_corpus.source.plan import Plan

__all__ = ["BEGINNING", "Places", "beginnings", "every_nth", "read_places", "spread"]

BEGINNING = 16 << 10
"""Characters of a document that serve as a sample of it."""

_Part = tuple["Shard", int, "NDArray[np.int64]"]
"""A shard, its first row counted over the plan, and the rows wanted of it, counted from its first."""


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
    chosen: dict[str, list[_Part]] = defaultdict(list)
    for shard, first, begin, end in zip(plan.shards, firsts.tolist(), cuts[:-1], cuts[1:], strict=False):
        if begin < end:
            chosen[shard.path].append((shard, first, wanted[begin:end] - first))
    for path, parts in chosen.items():
        whole = all(len(rows) == shard.n_rows for shard, _, rows in parts)
        if whole or kind_at(path) == "parquet":
            yield from _read_between(parts, columns, keep_types)
        else:
            yield from _read_lines(parts, columns, keep_types)


def _read_between(
    parts: Sequence[_Part], columns: Columns, keep_types: dict[str, pa.DataType]
) -> Iterator[tuple[NDArray[np.int64], Rows]]:
    """Read from the first wanted row of a row group to the last, and drop what lies between."""
    for shard, first, wanted in _by_row_group(parts):
        begin, end = int(wanted[0]), int(wanted[-1]) + 1
        narrow = replace(shard, first_row=shard.first_row + begin, n_rows=end - begin)
        left = narrow.n_rows
        for rows in read_shard(narrow, columns, keep_types):
            left -= len(rows.rows) + len(rows.rejects)
            local = rows.rows - shard.first_row
            near = np.searchsorted(wanted, local)  # np.isin sorts both each time: half of the time, measured
            good = np.flatnonzero(wanted[near] == local)
            if len(good):
                yield first + local[good], Rows(rows.table.take(pa.array(good)), rows.rows[good], ())
            if not left:
                break  # what is behind in the same row group need not be decoded


def _by_row_group(parts: Sequence[_Part]) -> Iterator[_Part]:
    """Divide shards that are not wanted as a whole; row groups without a wanted row are not read at all."""
    for shard, first, wanted in parts:
        if len(wanted) == shard.n_rows:
            yield shard, first, wanted
            continue
        with arrow_file(shard.path) as source:
            footer = pq.read_metadata(source)
        ends = np.cumsum([footer.row_group(i).num_rows for i in range(footer.num_row_groups)])
        group = np.searchsorted(ends, shard.first_row + wanted, "right")
        yield from ((shard, first, rows) for rows in np.split(wanted, np.flatnonzero(np.diff(group)) + 1))


def _read_lines(
    parts: Sequence[_Part], columns: Columns, keep_types: dict[str, pa.DataType]
) -> Iterator[tuple[NDArray[np.int64], Rows]]:
    """Copy the wanted lines of one file aside, in one pass, and read them as a file of their own."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "lines.jsonl")
        with copy.open("wb") as target, open_stream(Path(parts[0][0].path)) as stream:
            row = 0
            for shard, _, wanted in parts:
                if stream.seekable():  # compressed ones are not
                    stream.seek(shard.offset)
                    row = shard.first_row
                chosen = set((shard.first_row + wanted).tolist())
                last = max(chosen)
                for line, _size in lines(stream):
                    if row in chosen:  # a line too long to be held is left empty, a reject either way
                        target.write((line or b"").rstrip(b"\r\n") + b"\n")
                    row += 1
                    if row > last:
                        break
        rows_of = np.concatenate([first + wanted for _, first, wanted in parts])
        shard = replace(parts[0][0], first_row=0, n_rows=len(rows_of), offset=0, path=str(copy), mtime_ns=0)
        for rows in read_shard(shard, columns, keep_types):
            yield rows_of[rows.rows], rows


def beginnings(texts: pa.StringArray) -> list[str]:
    """Return how each text begins, without a Python string of all of it."""
    found: list[str] = pc.utf8_slice_codeunits(texts, 0, BEGINNING).to_pylist()
    return found
