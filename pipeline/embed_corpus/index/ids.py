"""ids.arrow: row i tells the chunk of vector i; an Arrow file that is mapped, not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from embed_corpus.errors import OutputError
from embed_corpus.sink.readback import open_part

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from embed_corpus.index.rows import Vectors

__all__ = ["map_ids", "taken", "write_ids"]

_COPIED = ["doc_id", "chunk_index", "char_start", "char_end"]
_SCHEMA = pa.schema(
    [
        ("doc_id", pa.string()),
        ("chunk_index", pa.int32()),
        ("char_start", pa.int64()),
        ("char_end", pa.int64()),
        ("part", pa.dictionary(pa.int32(), pa.string())),
        ("row", pa.int64()),
    ]
)


def write_ids(vectors: Vectors, file: Path) -> None:
    """Write doc_id, chunk_index, span, part and row in the part of every vector, in the order of the index.

    Raises:
        OutputError: a part is damaged.
    """
    names = pa.array([part.name for part in vectors.parts])
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as ids:
        for number, part in enumerate(vectors.parts):
            first = 0
            try:
                with open_part(vectors.layout, vectors.layout.data / part.name) as source:
                    for batch in source.iter_batches(65_536, columns=_COPIED):
                        here = pa.DictionaryArray.from_arrays(pa.array(np.full(len(batch), number, np.int32)), names)
                        rows = pa.array(np.arange(first, first + len(batch)))
                        ids.write_batch(pa.record_batch([*(batch[name] for name in _COPIED), here, rows], _SCHEMA))
                        first += len(batch)
            except (OSError, pa.ArrowException) as error:
                raise OutputError(f"{vectors.layout.data / part.name}: its ids cannot be copied: {error}") from error


def map_ids(file: Path) -> pa.Table:
    """Map ids.arrow: what is looked up is read from the disk, no more.

    Raises:
        OutputError: it is damaged.
    """
    try:
        return pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{file} is damaged ({error}): delete it, `embed-corpus index` makes it anew.") from error


def taken(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Return some rows of a mapped table, in this order.

    `Table.take` joins all chunks of a column first: the whole file is read, and text over 2 GB is refused.
    """
    batches = table.to_batches()
    ends = np.cumsum([len(batch) for batch in batches])
    of = ends.searchsorted(rows, "right")
    order = np.argsort(of, kind="stable")
    numbers, firsts = np.unique(of[order], return_index=True)
    found = [
        batches[n].take(pa.array(which - (ends[n] - len(batches[n]))))
        for n, which in zip(numbers.tolist(), np.split(rows[order], firsts[1:]), strict=bool(len(rows)))
    ]
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.Table.from_batches(found, table.schema).take(pa.array(back))
