"""Parquet: read by its footer and its row groups."""

from __future__ import annotations

from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.errors import DataError
from embed_corpus.source.checks import check_fields, kept_type, missing_of
from embed_corpus.source.fields import field_of, n_leaves
from embed_corpus.source.formats import base
from embed_corpus.source.formats.base import Cut, RawRows, Source, UnreadableError, Wanted
from embed_corpus.source.formats.parquet_batches import batches_of, kept_of, texts_in
from embed_corpus.source.int96 import check_int96
from embed_corpus.source.tables import is_part
from embed_corpus.source.types import plain_type
from embed_corpus.store.paths import arrow_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from embed_corpus.data import Shard
    from embed_corpus.source.columns import Columns
    from embed_corpus.source.discover import Found
    from embed_corpus.source.fields import Field
    from embed_corpus.source.formats.base import BlockSize, Span

__all__ = ["inspect", "places", "records", "rows", "spans"]

_BOMB_BYTES = 256 << 20
"""A column chunk that unpacks to more, and to more than `_BOMB_RATIO` times its size, is not unpacked."""
_BOMB_RATIO = 1000
_MOST_ROWS = 1 << 31
"""Rows that a row group may claim to have: of a column of nulls, any number takes a few bytes."""


def inspect(found: Found, columns: Columns) -> Source:
    """Read a file's footer, and check the columns."""
    stat = Path(found.path).stat()
    # Only with both options a look at no rows (in `_row_groups`) is no reading of all pages.
    with (
        arrow_file(found.path) as source,
        pq.ParquetFile(source, buffer_size=1 << 12, pre_buffer=False) as file,
    ):
        schema = file.schema_arrow
        if is_part(schema):
            raise DataError(
                f"{found.path} is a part that embed-corpus wrote: it holds vectors, no documents. Take it out of INPUT."
            )
        spots = {name: field_of(schema, name) for name in columns.all}
        there = {name: spot for name, spot in spots.items() if spot is not None}
        missing = missing_of(found, columns, set(columns.all) - there.keys(), schema.names)
        check_fields(found.path, columns, there)
        if sum(map(n_leaves, schema.types)) != len(file.schema):
            raise UnreadableError(f"{found.path}: the footer tells two numbers of columns. Replace the file.")
        sizes = _row_groups(found, file, columns, there)
        kept = {name: there[name] for name in columns.keep if name in there}
        coarse = check_int96(found.path, file, kept) == "us"
        kinds = {name: kept_type(file, spot, coarse=coarse) for name, spot in kept.items()}
    keep_types = {name: plain_type(kind) for name, kind in kinds.items() if not pa.types.is_null(kind)}
    tag = _footer_hash(Path(found.path))
    cuts = _cut_row_groups(sizes)
    place = found.path, found.relative, stat.st_size, stat.st_mtime_ns, tag, cuts
    return Source(*place, keep_types, 0, {}, *missing, found.format)


def rows(shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], size: BlockSize) -> Iterator[RawRows]:
    """Yield the range's rows; only the needed columns, and only the row groups that hold it."""
    for first, batch, spots in batches_of(shard, columns, keep_types, size.n_rows, size.n_bytes):
        texts = [texts_in(batch, spots, name) for name in columns.text]
        spot = spots[columns.id] if columns.id else None
        kept = [kept_of(batch, spots, shard, n, keep_types.get(n, pa.string())) for n in columns.keep]
        yield RawRows(texts, spot and spot.values(batch), kept, np.arange(first, first + len(batch)), [])


def places(parts: Sequence[Wanted]) -> Iterator[Wanted]:
    """Divide shards that are not wanted as a whole; row groups without a wanted row are not read at all."""
    for part in parts:
        if part.is_whole:
            yield part
            continue
        with arrow_file(part.shard.path) as source:
            footer = pq.read_metadata(source)
        ends = np.cumsum([footer.row_group(i).num_rows for i in range(footer.num_row_groups)])
        edges = np.flatnonzero(np.diff(np.searchsorted(ends, part.shard.first_row + part.rows, "right"))) + 1
        for held, numbers in zip(np.split(part.rows, edges), np.split(part.numbers, edges), strict=True):
            yield Wanted(part.shard, held, numbers)


def spans(path: str, columns: Columns, begin: int, stop: int) -> Iterator[tuple[int, tuple[Span, ...]]]:
    """Yield rows and column chunks of each row group that holds some of the rows from `begin` to `stop`."""
    with arrow_file(path) as opened, pq.ParquetFile(opened, buffer_size=1 << 12, pre_buffer=False) as file:
        paths = [file.schema.column(i).path for i in range(len(file.schema))]
        leaves = [i for i, p in enumerate(paths) if any(f"{p}.".startswith(f"{name}.") for name in columns.all)]
        first = 0
        for number in range(file.num_row_groups):
            # Looked at by the reader first, which raises: over damage the metadata's own ends the process.
            next(file.reader.iter_batches(0, [number], leaves, use_threads=False), None)
            group = file.metadata.row_group(number)
            if first < stop and first + group.num_rows > begin:
                yield group.num_rows, tuple(_span(group.column(i)) for i in leaves)
            first += group.num_rows


def _span(chunk: pq.ColumnChunkMetaData) -> Span:
    """Return where a column chunk lies, as Arrow reads it."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    return start, chunk.total_compressed_size


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row with all its columns."""
    with path.open("rb") as source:  # Arrow itself takes no path that is no UTF-8
        for i, row in enumerate(pq.read_table(source).to_pylist()):
            yield f"row {i}", row


def _row_groups(found: Found, file: pq.ParquetFile, columns: Columns, there: dict[str, Field]) -> list[tuple[int, int]]:
    """Return the rows and the bytes of text of each row group, if the footer can be believed.

    Raises:
        UnreadableError: it contradicts itself, or a column would unpack to far more than it should.
    """
    leaves = sorted({leaf for spot in there.values() for leaf in spot.leaves})
    of_text = {leaf for name in columns.text if name in there for leaf in there[name].leaves}
    flat = {leaf for leaf in leaves if file.schema.column(leaf).max_repetition_level == 0}
    groups = []
    for number in range(file.num_row_groups):
        # Over the damaged description of a column Arrow ends the process (`row_group.column` lets no C++ exception
        # through), but the reader raises: so it is made to look first, at no rows.
        next(file.reader.iter_batches(0, [number], leaves, use_threads=False), None)
        group = file.metadata.row_group(number)
        chunks = {i: group.column(i) for i in leaves}
        for i, chunk in chunks.items():
            sound = chunk.num_values == group.num_rows if i in flat else chunk.num_values >= group.num_rows
            if not sound or chunk.total_uncompressed_size < 0 or not 0 <= group.num_rows < _MOST_ROWS:
                raise UnreadableError(
                    f"{found.path}, row group {number}, column {chunk.path_in_schema!r}: the footer says "
                    f"{group.num_rows} rows, {chunk.num_values} values, {chunk.total_uncompressed_size} bytes. "
                    "Replace the file, or take it out of INPUT."
                )
            if chunk.total_uncompressed_size > max(_BOMB_BYTES, _BOMB_RATIO * chunk.total_compressed_size):
                raise UnreadableError(
                    f"{found.path}, row group {number}, column {chunk.path_in_schema!r}: {chunk.total_compressed_size} "
                    f"bytes would unpack to {chunk.total_uncompressed_size >> 20} MiB, as a bomb does. Write it with "
                    "smaller row groups, or take it out of INPUT."
                )
        groups.append((group.num_rows, sum(chunks[i].total_uncompressed_size for i in of_text)))
    return groups


def _footer_hash(path: Path) -> str:
    """Hash the footer: the last 8 bytes of the file are its length and the magic number."""
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        return blake2b(file.read(length), digest_size=16).hexdigest()


def _cut_row_groups(groups: list[tuple[int, int]]) -> tuple[Cut, ...]:
    """Join row groups up to the limits of a shard, and split those that exceed them evenly."""
    cuts: list[Cut] = []
    first = rows = size = 0
    for group_rows, group_bytes in groups:
        if rows and (rows + group_rows > base.SHARD_ROWS or size + group_bytes > base.SHARD_BYTES):
            cuts.append(Cut(first, rows))
            first, rows, size = first + rows, 0, 0
        pieces = max(-(-group_rows // base.SHARD_ROWS), -(-group_bytes // base.SHARD_BYTES), 1)
        if pieces > 1:
            edges = [first + group_rows * i // pieces for i in range(pieces + 1)]
            cuts += [Cut(a, b - a) for a, b in pairwise(edges) if b > a]
            first += group_rows
        else:
            rows, size = rows + group_rows, size + group_bytes
    if rows or not cuts:
        cuts.append(Cut(first, rows))
    return tuple(cuts)
