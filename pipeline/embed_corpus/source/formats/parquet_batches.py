"""Rows of Parquet files: only the columns asked for, only the row groups that hold them, in batches of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_corpus.source.fields import field_of
from embed_corpus.source.int96 import unit_for
from embed_corpus.source.partitions import folder_keys, folder_value
from embed_corpus.source.texts import text_of
from embed_corpus.store.paths import arrow_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embed_corpus.data import Shard
    from embed_corpus.source.columns import Columns
    from embed_corpus.source.fields import Field

__all__ = ["Spots", "batches_of", "kept_of", "spots_of", "texts_in"]

_BATCH_BYTES = 64 << 20
"""Bytes of one text column that are unpacked together at most, unless a single text is longer."""
_OPTIONS = {"buffer_size": 1 << 20, "pre_buffer": False}  # else all pages are read for a look at one row

Spots = dict[str, "Field | None"]
"""Where each column asked for lies in a file; None where it lacks it."""


def spots_of(schema: pa.Schema, columns: Columns) -> Spots:
    """Find each column asked for.

    Raises:
        KeyError: there is no text column, or no id column, though there was one.
    """
    spots = {name: field_of(schema, name) for name in columns.all}
    if columns.id and spots[columns.id] is None:
        raise KeyError(columns.id)
    if columns.text and all(spots[name] is None for name in columns.text):  # ids may be read alone
        raise KeyError(columns.text[0])
    return spots


def batches_of(
    shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], n_rows: int, n_bytes: int
) -> Iterator[tuple[int, pa.RecordBatch, Spots]]:
    """Yield a shard's rows, some at a time: the first one's number, the leaves that hold columns, where they lie."""
    stop = shard.first_row + shard.n_rows
    with arrow_file(shard.path) as opened, pq.ParquetFile(opened, **_OPTIONS) as file:
        spots, footer = spots_of(file.schema_arrow, columns), file.metadata
        found = {name: spot for name, spot in spots.items() if spot is not None}
        unit = unit_for(file, {name: found[name] for name in columns.keep if name in found}, keep_types)
        names = [column.path for column in map(file.schema.column, range(len(file.schema)))]
    leaves = sorted({leaf for spot in found.values() for leaf in spot.leaves})
    options = {"page_checksum_verification": True, "coerce_int96_timestamp_unit": unit, **_OPTIONS}
    with arrow_file(shard.path) as opened, pq.ParquetFile(opened, metadata=footer, **options) as file:
        group_first = 0
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            row, group_first = group_first, group_first + group.num_rows
            if row >= stop or group_first <= shard.first_row:
                continue
            at_once = min(n_rows, n_bytes * group.num_rows // max(group.total_byte_size, 1))
            if at_once * group.total_byte_size > _BATCH_BYTES:
                items = max(group.column(leaf).num_values for leaf in leaves) // max(group.num_rows, 1)  # of lists
                longest = _longest(shard.path, footer, number, leaves, names)
                at_once = min(at_once, _BATCH_BYTES // (longest * max(items, 1)))
            batches = file.reader.iter_batches(max(1, at_once), [number], leaves, use_threads=False)
            for batch in batches:
                if row + len(batch) == group_first:
                    next(batches, None)  # at its end it lets go of its pages: of a huge text, three times the text
                begin, end = max(row, shard.first_row), min(row + len(batch), stop)
                if begin < end:
                    yield begin, batch.slice(begin - row, end - begin), spots
                row += len(batch)


def _longest(path: str, footer: pq.FileMetaData, group: int, leaves: list[int], names: list[str]) -> int:
    """Return the bytes of the longest value in a row group's dictionaries, 1 at least.

    The footer counts a text of a dictionary once, however many rows repeat it: a file of 1 MB may hold 8 GB.
    """
    longest = 1
    with (
        arrow_file(path) as opened,
        pq.ParquetFile(opened, metadata=footer, read_dictionary=[names[leaf] for leaf in leaves], **_OPTIONS) as file,
    ):
        for row in file.reader.iter_batches(1, [group], leaves, use_threads=False):
            for values in _dictionaries(row.columns):
                longest = max(longest, pc.max(pc.binary_length(values)).as_py() or 0)
            break
    return longest


def _dictionaries(arrays: list[pa.Array]) -> Iterator[pa.Array]:
    """Yield the texts and bytes that columns, and what is nested in them, take their values from."""
    for array in arrays:
        if pa.types.is_dictionary(array.type):
            if pa.types.is_string(array.dictionary.type) or pa.types.is_binary(array.dictionary.type):
                yield array.dictionary
        elif pa.types.is_nested(array.type):
            yield from _dictionaries(array.flatten() if pa.types.is_struct(array.type) else [array.values])


def texts_in(batch: pa.RecordBatch, spots: Spots, name: str) -> pa.StringArray:
    """Return a text column of a batch, all null where the file lacks it."""
    spot = spots[name]
    return pa.nulls(len(batch), pa.string()) if spot is None else text_of(spot.values(batch))


def kept_of(batch: pa.RecordBatch, spots: Spots, shard: Shard, name: str, kind: pa.DataType) -> pa.Array:
    """Return a kept column of a batch as a type: the file's own, else the key of a folder, else nulls."""
    spot = spots[name]
    if spot is None:
        value = folder_keys(shard.source).get(name)
        return pa.nulls(len(batch), kind) if value is None else pa.repeat(folder_value(value, kind), len(batch))
    values = spot.values(batch)
    if values.type == kind:
        return values
    if pa.types.is_null(values.type):
        return pa.nulls(len(batch), kind)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    plainly = kind == pa.string() and not pa.types.is_list(values.type)
    if plainly and _has_bytes(values.type):
        return text_of(values)
    fitted = values.cast(kind)
    fitted.validate()  # lists of nothing but nulls come out broken (Arrow 26)
    return fitted


def _has_bytes(kind: pa.DataType) -> bool:
    tells = (pa.types.is_large_string, pa.types.is_string_view, pa.types.is_binary, pa.types.is_large_binary)
    return any(told(kind) for told in (*tells, pa.types.is_binary_view, pa.types.is_fixed_size_binary))
