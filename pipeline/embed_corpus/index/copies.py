"""rows.arrow: row v lists the rows of ids.arrow that vector v of the index stands for; mapped, not read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embed_corpus.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["ROWS", "Copies", "copies_of", "map_copies", "ranked", "write_copies"]

ROWS = "rows.arrow"
"""There where equal vectors are; else row i has vector i."""


@dataclass(frozen=True)
class Copies:
    """Rows of each vector: those of vector v are `rows[starts[v] : starts[v + 1]]`, in ascending order."""

    starts: NDArray[np.int64]
    rows: NDArray[np.int64]

    @property
    def first(self) -> NDArray[np.bool_]:
        """Which rows are the first of their vector, bool[rows]."""
        first = np.zeros(len(self.rows), np.bool_)
        first[self.rows[self.starts[:-1]]] = True
        return first

    @property
    def any(self) -> NDArray[np.bool_]:
        """Which vectors have a row at all, bool[vectors]."""
        return np.diff(self.starts) > 0

    def only(self, among: NDArray[np.bool_]) -> Copies:
        """Leave out rows that are not `among`, bool[rows]."""
        kept = among[self.rows]
        before = np.concatenate([[0], np.cumsum(kept)])
        return Copies(before[self.starts], self.rows[kept])

    def expanded(
        self, scores: NDArray[np.float32], vectors: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Turn vectors that were found [n, m], best first, into the `k` best rows [n, k]; of equal scores the first.

        Places that nothing fills have row -1, there and here.
        """
        found = vectors >= 0
        begins = self.starts[np.where(found, vectors, 0)]
        sizes = np.where(found, np.minimum(self.starts[np.where(found, vectors, 0) + 1] - begins, k), 0)
        better = np.cumsum(sizes, axis=1) - sizes  # rows that come before, of those of another score all
        same = np.zeros(scores.shape, np.bool_)
        same[:, 1:] = scores[:, 1:] == scores[:, :-1]
        better = np.maximum.accumulate(np.where(same, 0, better), axis=1)
        sizes = np.where(better < k, sizes, 0).ravel()
        within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rows = np.asarray(self.rows[np.repeat(begins.ravel(), sizes) + within])
        of = np.repeat(np.arange(sizes.size) // max(scores.shape[1], 1), sizes)
        values = np.repeat(scores.ravel(), sizes)
        order = np.lexsort((rows, -values, of))
        place = np.arange(len(of)) - np.searchsorted(of, of)  # `of` is sorted before and after
        best = np.full((len(scores), k), -np.inf, np.float32), np.full((len(scores), k), -1, np.int64)
        kept = place < k
        at, order = (of[kept], place[kept]), order[kept]
        best[0][at], best[1][at] = values[order], rows[order]
        return best


def ranked(scores: NDArray[Any], rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Order what was found [n, k] by score, and of equal scores by row; places that nothing fills last."""
    order = np.lexsort((rows, -scores, rows < 0), axis=-1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def copies_of(numbers: NDArray[np.int32]) -> Copies:
    """Turn the number of each row's vector into the rows of each vector."""
    starts = np.concatenate([[0], np.cumsum(np.bincount(numbers))])
    return Copies(starts.astype(np.int64), np.argsort(numbers, kind="stable"))


def write_copies(numbers: NDArray[np.int32], file: Path) -> None:
    """Write the rows of each vector, by the number of each row's vector."""
    copies = copies_of(numbers)
    column = pa.LargeListArray.from_arrays(pa.array(copies.starts), pa.array(copies.rows))
    batch = pa.record_batch([column], names=["rows"])
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def map_copies(file: Path) -> Copies:
    """Map rows.arrow.

    Raises:
        OutputError: it is damaged.
    """
    try:
        column = pa.ipc.open_file(pa.memory_map(str(file))).get_batch(0)["rows"]
        return Copies(column.offsets.to_numpy(), column.values.to_numpy())
    except (OSError, pa.ArrowException, AttributeError) as error:
        raise OutputError(f"{file} is damaged ({error}): delete it, `embed-corpus index` makes it anew.") from error
