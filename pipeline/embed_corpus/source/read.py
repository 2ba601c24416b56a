"""From a shard to its documents: Arrow batches of bounded size, bad rows set aside with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_corpus.data import SHOWN_BYTES, Reason, Reject, Rows
from embed_corpus.errors import DataError
from embed_corpus.source.fields import ABSENT, value_of
from embed_corpus.source.fit import as_id, as_kept, as_text
from embed_corpus.source.formats import kind_at
from embed_corpus.source.inspect import reason_of
from embed_corpus.source.jsonl import BadLineError, lines, open_stream, parse
from embed_corpus.source.kinds import kept_value
from embed_corpus.source.marks import is_marked, superseded_first
from embed_corpus.source.parquet import batches_of, kept_of, texts_in
from embed_corpus.source.partitions import folder_keys, folder_value
from embed_corpus.source.texts import ids_of, valid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embed_corpus.data import Shard
    from embed_corpus.source.inspect import Columns
    from embed_corpus.source.texts import Bad

__all__ = ["LARGE", "MAX_DOC_BYTES", "SMALL", "BlockSize", "read_ids", "read_shard"]


@dataclass(frozen=True, slots=True)
class BlockSize:
    """Rows, and bytes of text, that go through the stages together; one huge row makes a block of its own."""

    n_rows: int
    n_bytes: int


SMALL = BlockSize(64, 128 << 10)
"""For a device that embeds some thousand tokens a second: progress shows and memory stays flat."""
LARGE = BlockSize(8192, 1 << 20)
"""For a GPU: a block costs as much overhead as a batch, and feeds several."""
MAX_DOC_BYTES = 256 << 20
"""Documents above are rejects: their ids and offsets would not fit in memory."""


@dataclass(frozen=True, slots=True)
class _Raw:
    """Rows as they stand in the source: texts, which may be no UTF-8, ids of any type, kept values; bad lines aside."""

    texts: list[pa.StringArray]
    ids: pa.Array | None
    kept: list[pa.Array]
    rows: NDArray[np.int64]
    rejects: list[Reject]


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


def _raw_blocks(shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], size: BlockSize) -> Iterator[_Raw]:
    """Yield a shard's rows as they stand in the source, and see to it that they are those that were planned."""
    n_rows = 0
    try:
        raw_blocks = _parquet_rows if kind_at(shard.path) == "parquet" else _jsonl_rows
        for raw in raw_blocks(shard, columns, keep_types, size):
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


def _parquet_rows(
    shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], size: BlockSize
) -> Iterator[_Raw]:
    """Yield the range's rows; only the needed columns, and only the row groups that hold it."""
    for first, batch, spots in batches_of(shard, columns, keep_types, size.n_rows, size.n_bytes):
        texts = [texts_in(batch, spots, name) for name in columns.text]
        spot = spots[columns.id] if columns.id else None
        kept = [kept_of(batch, spots, shard, n, keep_types.get(n, pa.string())) for n in columns.keep]
        yield _Raw(texts, spot and spot.values(batch), kept, np.arange(first, first + len(batch)), [])


def _jsonl_rows(shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], limit: BlockSize) -> Iterator[_Raw]:
    """Yield the range's lines, parsed one by one so that a bad line costs only itself."""
    values: list[list[Any]] = []
    rows: list[int] = []
    rejects: list[Reject] = []
    size = 0
    types = [pa.string()] * (len(columns.text) + bool(columns.id)) + [
        keep_types.get(n, pa.string()) for n in columns.keep
    ]
    folders = {n: folder_value(v, keep_types[n]) for n, v in folder_keys(shard.source).items() if n in keep_types}

    def raw() -> _Raw:
        arrays = [pa.array([row[i] for row in values], t) for i, t in enumerate(types)]
        texts, others = arrays[: len(columns.text)], arrays[len(columns.text) :]
        ids = others.pop(0) if columns.id else None
        return _Raw(texts, ids, others, np.array(rows, np.int64), rejects)

    with open_stream(Path(shard.path), shard.offset) as stream:
        row = shard.first_row - 1
        for line, n_bytes in islice(lines(stream), shard.n_rows):
            row += 1  # by hand: `enumerate` would hold the line
            try:
                fields = parse(line, first=row == 0)
                fitted = _fitted(line or b"", fields, columns, keep_types, folders)
            except BadLineError as error:
                begin = bytes((line or b"")[:SHOWN_BYTES]).rstrip(b"\r\n")
                rejects.append(Reject(shard.source, row, error.reason, error.detail, None, begin))
                continue
            values.append(fitted)
            rows.append(row)
            size += n_bytes
            if len(values) == limit.n_rows or size >= limit.n_bytes:
                full = raw()
                values, rows, rejects, size = [], [], [], 0
                del line, fields, fitted  # not held beside the block that they are in
                yield full
                del full
    if rows or rejects:
        yield raw()


def _fitted(
    line: bytes,
    fields: dict[str, Any],
    columns: Columns,
    keep_types: dict[str, pa.DataType],
    folders: dict[str, pa.Scalar],
) -> list[Any]:
    """Return a line's texts, its id if one is read, and its kept values; where it has none, the key of a folder."""
    fitted = [as_text(value_of(fields, name), name) for name in columns.text]
    if columns.id:
        fitted.append(as_id(value_of(fields, columns.id), columns.id))
    for name in columns.keep:
        value = kept_value(line, fields, name)
        if value is ABSENT and name in folders:
            fitted.append(folders[name].as_py())
        else:
            fitted.append(as_kept(value, name, keep_types.get(name, pa.string())))
    return fitted


def _screen(raw: _Raw, shard: Shard, columns: Columns, seen: set[str]) -> Rows:
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


def _doc_ids(raw: _Raw, shard: Shard, columns: Columns, bad: Bad) -> pa.StringArray:
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
