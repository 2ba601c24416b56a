"""From a shard to its documents: Arrow batches of bounded size, bad rows set aside with a reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_corpus.data import SHOWN_BYTES, Reject, Rows
from embed_corpus.errors import DataError
from embed_corpus.source.formats import kind_at
from embed_corpus.source.inspect import plain_type, reason_of
from embed_corpus.source.jsonl import BadLineError, lines, open_stream, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embed_corpus.data import Shard
    from embed_corpus.source.inspect import Columns

__all__ = ["LARGE", "MAX_DOC_BYTES", "SMALL", "BlockSize", "read_shard"]


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
_BATCH_BYTES = 64 << 20
"""Bytes of one text column that are unpacked together at most, unless a single text is longer."""


@dataclass(frozen=True, slots=True)
class _Raw:
    """Rows as they stand in the source: its own column names, plain types; bad lines set aside."""

    table: pa.RecordBatch
    rows: NDArray[np.int64]
    rejects: list[Reject]


def read_shard(
    shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], size: BlockSize | None = None
) -> Iterator[Rows]:
    """Yield a shard's documents in source order, in blocks of a size (None: small).

    Every row of the range comes out once: as a document, or as a reject (`empty`,
    `invalid_utf8`, `bad_json`, `wrong_type`, `no_id`, `duplicate_id`, `too_large`).

    Raises:
        DataError: the file can no longer be read, or holds fewer rows than planned.
    """
    seen: set[str] = set()
    n_rows = 0
    try:
        raw_blocks = _parquet_rows if kind_at(shard.path) == "parquet" else _jsonl_rows
        for raw in raw_blocks(shard, columns, keep_types, size or SMALL):
            n_rows += len(raw.rows) + len(raw.rejects)
            yield _screen(raw, shard, columns, seen)
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
    stop = shard.first_row + shard.n_rows
    with pq.ParquetFile(shard.path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
        group_first = 0
        for number in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(number)
            row, group_first = group_first, group_first + group.num_rows
            if row >= stop or group_first <= shard.first_row:
                continue
            n_rows = min(size.n_rows, size.n_bytes * group.num_rows // max(group.total_byte_size, 1))
            if n_rows * group.total_byte_size > _BATCH_BYTES:
                n_rows = min(n_rows, _BATCH_BYTES // _longest(shard.path, file.metadata, number, columns))
            n_rows = max(1, n_rows)
            batches = file.iter_batches(n_rows, row_groups=[number], columns=columns.all, use_threads=False)
            for batch in batches:
                if row + len(batch) == group_first:
                    next(batches, None)  # at its end it lets go of its pages: of a huge text, three times the text
                begin, end = max(row, shard.first_row), min(row + len(batch), stop)
                if begin < end:
                    part = batch.slice(begin - row, end - begin)
                    plain = [part[n].cast(keep_types.get(n) or plain_type(part[n].type)) for n in columns.all]
                    table = pa.RecordBatch.from_arrays(plain, names=columns.all)
                    yield _Raw(table, np.arange(begin, end), [])
                row += len(batch)


def _longest(path: str, footer: pq.FileMetaData, group: int, columns: Columns) -> int:
    """Return the bytes of the longest text in a row group's dictionaries, 1 at least.

    The footer counts a text of a dictionary once, however many rows repeat it: a file of 1 MB may hold 8 GB.
    """
    longest = 1
    options = {"buffer_size": 1 << 20, "pre_buffer": False}  # else all pages are read for this one row
    with pq.ParquetFile(path, metadata=footer, read_dictionary=columns.all, **options) as file:
        for row in file.iter_batches(1, row_groups=[group], columns=columns.all, use_threads=False):
            for column in row:
                if pa.types.is_dictionary(column.type) and plain_type(column.type) in {pa.string(), pa.binary()}:
                    longest = max(longest, pc.max(pc.binary_length(column.dictionary)).as_py() or 0)
            break
    return longest


def _jsonl_rows(shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], limit: BlockSize) -> Iterator[_Raw]:
    """Yield the range's lines, parsed one by one so that a bad line costs only itself."""
    values: list[list[Any]] = []
    rows: list[int] = []
    rejects: list[Reject] = []
    size = 0
    names = columns.all
    types = [keep_types.get(name, pa.string()) for name in names]
    fits = [_as_id if n == columns.id else _as_text if n in columns.text else _as_kept for n in names]

    def raw() -> _Raw:
        arrays = [pa.array([row[i] for row in values], t) for i, t in enumerate(types)]
        return _Raw(pa.RecordBatch.from_arrays(arrays, names=names), np.array(rows, np.int64), rejects)

    with open_stream(Path(shard.path), shard.offset) as stream:
        row = shard.first_row - 1
        for line, n_bytes in islice(lines(stream), shard.n_rows):
            row += 1  # by hand: `enumerate` would hold the line
            try:
                fields = parse(line, first=row == 0)
                fitted = [fit(fields.get(n), n, t) for fit, n, t in zip(fits, names, types, strict=True)]
            except BadLineError as error:
                reason, detail = error.args
                begin = bytes((line or b"")[:SHOWN_BYTES]).rstrip(b"\r\n")
                rejects.append(Reject(shard.source, row, reason, detail, None, begin))
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


def _as_text(value: Any, name: str, _: pa.DataType) -> str | None:
    if value is not None and not isinstance(value, str):
        raise BadLineError("wrong_type", f"{name} is a {type(value).__name__}, not text")
    return None if value is None else _encodable(value, name)


def _as_id(value: Any, name: str, kind: pa.DataType) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if kind == pa.string() else _as_kept(value, name, kind)
    return _as_text(value, name, kind) if kind == pa.string() else _as_kept(value, name, kind)


def _as_kept(value: Any, name: str, kind: pa.DataType) -> Any:
    """Fit a kept value to its column's type; where that is text, other values become their JSON."""
    if value is None:
        return None
    if kind == pa.string():
        return _encodable(value if isinstance(value, str) else _dumped(value, name), name)
    try:
        fitted = pa.scalar(value, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        fitted = None
    cut_down = fitted is not None and isinstance(value, float) and pa.types.is_integer(kind) and fitted.as_py() != value
    if fitted is None or cut_down:  # Arrow makes 1 of 1.5
        raise BadLineError("wrong_type", f"{name} is a {type(value).__name__}, not {kind}")
    return fitted


def _dumped(value: Any, name: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:  # parsed with fewer calls on the stack than there are now
        raise BadLineError("bad_json", f"{name} is nested too deeply") from None


def _encodable(value: str, name: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadLineError("invalid_utf8", f"{name} holds a lone surrogate") from None
    return value


def _screen(raw: _Raw, shard: Shard, columns: Columns, seen: set[str]) -> Rows:
    """Turn raw rows into documents, and those that cannot be embedded into rejects."""
    bad: dict[int, tuple[str, str]] = {}
    raw_texts = [raw.table[name] for name in columns.text]
    texts = [_valid(raw.table[name], name, bad) for name in columns.text]
    ids = _doc_ids(raw, shard, columns, bad)
    kept = [_valid(raw.table[n], n, bad) if raw.table[n].type == pa.string() else raw.table[n] for n in columns.keep]
    text = _joined(texts)
    for i in _blank(text).tolist():
        bad.setdefault(i, ("empty", ""))
    for i in np.flatnonzero(pc.greater(pc.binary_length(text), MAX_DOC_BYTES)).tolist():
        bad.setdefault(i, ("too_large", f"over {MAX_DOC_BYTES >> 20} MiB"))
    if columns.id:
        for i, doc_id in enumerate(ids.to_pylist()):
            if doc_id is None:
                bad.setdefault(i, ("no_id", f"{columns.id} is null"))
            elif i not in bad and doc_id in seen:
                bad[i] = ("duplicate_id", "an earlier row of this shard has the same id")
            elif i not in bad:
                seen.add(doc_id)
    rejects = raw.rejects + [
        Reject(shard.source, int(raw.rows[i]), *why, ids[i].as_py() if columns.id else None, _beginning(raw_texts, i))
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


def _doc_ids(raw: _Raw, shard: Shard, columns: Columns, bad: dict[int, tuple[str, str]]) -> pa.StringArray:
    if columns.id is None:
        return pc.binary_join_element_wise(shard.source, pa.array(raw.rows).cast(pa.string()), "#")
    return _valid(raw.table[columns.id].cast(pa.string()), columns.id, bad)


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


def _valid(array: pa.StringArray, name: str, bad: dict[int, tuple[str, str]]) -> pa.StringArray:
    """Null out the values that are no UTF-8 and note them in `bad`; Arrow does not check on reading."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        values = array.cast(pa.binary()).to_pylist()
        for i, value in enumerate(values):
            try:
                value = value and value.decode()  # noqa: PLW2901
            except UnicodeDecodeError as error:
                bad.setdefault(i, ("invalid_utf8", f"{name}, byte {error.start}"))
                values[i] = None
        return pa.array(values, pa.binary()).cast(pa.string())
    return array
