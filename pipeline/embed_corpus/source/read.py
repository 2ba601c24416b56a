"""From a shard to its documents: Arrow batches of bounded size, bad rows set aside with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_corpus.data import SHOWN_BYTES, Reason, Reject, Rows
from embed_corpus.errors import DataError
from embed_corpus.source.formats.base import BlockSize, reason_of
from embed_corpus.source.formats.table import format_named
from embed_corpus.source.marks import is_marked, superseded_first
from embed_corpus.source.texts import ids_of, valid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embed_corpus.data import Shard
    from embed_corpus.source.columns import Columns
    from embed_corpus.source.formats.base import RawRows
    from embed_corpus.source.texts import Bad

__all__ = ["LARGE", "MAX_DOC_BYTES", "SMALL", "BlockSize", "read_ids", "read_shard"]


SMALL = BlockSize(64, 128 << 10)
"""For a device that embeds some thousand tokens a second: progress shows and memory stays flat."""
LARGE = BlockSize(8192, 1 << 20)
"""For a GPU: a block costs as much overhead as a batch, and feeds several."""
MAX_DOC_BYTES = 256 << 20
"""Documents above are rejects: their ids and offsets would not fit in memory."""


def read_shard(
    shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], size: BlockSize | None = None
) -> Iterator[Rows]:
    """Yield a shard's documents in source order, in blocks of a size (None: small).

    Every row of the range comes out once: as a document, or as a reject (`empty`,
    `invalid_utf8`, `bad_json`, `wrong_type`, `no_id`, `duplicate_id`, `too_large`, `superseded`).

    Raises:
        DataError: the file can no longer be read, or holds fewer rows than planned.
    """
    seen: set[str] = set()
    for raw in _raw_blocks(shard, columns, keep_types, size or SMALL):
        yield _screen(raw, shard, columns, seen)


def read_ids(shard: Shard, columns: Columns) -> Iterator[tuple[list[str | None], NDArray[np.int64]]]:
    """Yield ids of a shard's rows and these rows, int64[n], as `read_shard` does; None where none can be read."""
    for raw in _raw_blocks(shard, columns, {}, LARGE):
        yield _doc_ids(raw, shard, columns, {}).to_pylist(), raw.rows


def _raw_blocks(
    shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], size: BlockSize
) -> Iterator[RawRows]:
    """Yield a shard's rows as they stand in the source, and see to it that they are those that were planned."""
    n_rows = 0
    try:
        for raw in format_named(shard.format).rows(shard, columns, keep_types, size):
            n_rows += len(raw.rows) + len(raw.rejects)
            yield raw
        changed = shard.mtime_ns and Path(shard.path).stat().st_mtime_ns != shard.mtime_ns
    except (OSError, pa.ArrowException, KeyError) as error:  # KeyError: another file by now, without the column
        where = f"{shard.path}, rows {shard.first_row + n_rows} to {shard.first_row + shard.n_rows - 1}"
        raise DataError(f"{where}: {reason_of(error)} Replace the file and run the same line again.") from error
    if changed or n_rows != shard.n_rows:
        raise DataError(
            f"{shard.path} changed during the run ({shard.n_rows} rows planned from row {shard.first_row}, "
            f"{n_rows} read). Run the same line again when it is complete."
        )


def _screen(raw: RawRows, shard: Shard, columns: Columns, seen: set[str]) -> Rows:
    """Turn raw rows into documents, and those that cannot be embedded into rejects."""
    old = np.flatnonzero(is_marked(raw.rows, shard.superseded)).tolist()
    bad: Bad = dict.fromkeys(old, (Reason.SUPERSEDED, Reason.SUPERSEDED.sentence))
    texts = [valid(text, name, bad) for name, text in zip(columns.text, raw.texts, strict=True)]
    ids = _doc_ids(raw, shard, columns, bad)
    kept = [valid(a, n, bad) if a.type == pa.string() else a for n, a in zip(columns.keep, raw.kept, strict=True)]
    text = _joined(texts)
    for i in _blank(text).tolist():
        bad.setdefault(i, (Reason.EMPTY, ""))
    for i in np.flatnonzero(pc.greater(pc.binary_length(text), MAX_DOC_BYTES)).tolist():
        bad.setdefault(i, (Reason.TOO_LARGE, f"over {MAX_DOC_BYTES >> 20} MiB"))
    if columns.id:
        for i, doc_id in enumerate(ids.to_pylist()):
            if doc_id is None:
                bad.setdefault(i, (Reason.NO_ID, f"{columns.id} is null"))
            elif i not in bad and doc_id in seen:
                bad[i] = (Reason.DUPLICATE_ID, Reason.DUPLICATE_ID.sentence)
            elif i not in bad:
                seen.add(doc_id)
    rejects = superseded_first(raw.rejects, shard.superseded) + [
        Reject(shard.source, int(raw.rows[i]), *why, ids[i].as_py() if columns.id else None, _beginning(raw.texts, i))
        for i, why in bad.items()
    ]
    table = pa.RecordBatch.from_arrays([ids, text, *kept], names=["doc_id", "text", *columns.keep])
    good = np.setdiff1d(np.arange(len(table)), np.fromiter(bad, int, len(bad)))
    rows = raw.rows
    if bad:
        table, rows = table.take(pa.array(good)), rows[good]
    return Rows(table, rows, tuple(sorted(rejects, key=lambda r: r.row)))


def _blank(texts: pa.StringArray) -> NDArray[np.int64]:
    """Return which texts hold nothing but white space; most are told by how they begin, without a copy of them."""
    begins = pc.utf8_slice_codeunits(texts, 0, 64)
    found = np.flatnonzero(pc.equal(pc.binary_length(pc.utf8_trim_whitespace(begins)), 0))
    trimmed = pc.utf8_trim_whitespace(texts.take(pa.array(found)))
    blank: NDArray[np.int64] = found[np.asarray(pc.equal(pc.binary_length(trimmed), 0))]
    return blank


def _beginning(texts: list[pa.StringArray], row: int) -> bytes:
    """Return the first bytes of a row's first text, valid or not."""
    for text in texts:
        if text[row].is_valid:
            value = pc.binary_slice(text.slice(row, 1).cast(pa.binary()), 0, SHOWN_BYTES)[0].as_py()
            return bytes(value)
    return b""


def _doc_ids(raw: RawRows, shard: Shard, columns: Columns, bad: Bad) -> pa.StringArray:
    if columns.id is None:
        return pc.binary_join_element_wise(shard.source, pa.array(raw.rows).cast(pa.string()), "#")
    return ids_of(raw.ids, columns.id, bad)


def _joined(texts: list[pa.StringArray]) -> pa.StringArray:
    """Join a document's text columns with a blank line; null and empty ones leave no gap.

    Not `binary_join_element_wise(null_handling="skip")`: in Arrow 26 it drops rows that are all null.
    """
    joined, *others = [pc.fill_null(text, "") for text in texts]
    for text in others:
        both = pc.and_(pc.not_equal(joined, ""), pc.not_equal(text, ""))
        gap = pc.if_else(both, "\n\n", "")
        joined = pc.binary_join_element_wise(joined, gap, text, "")
    return joined
