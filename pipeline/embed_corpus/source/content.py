"""A digest of the bytes that a Parquet shard's rows come from: the footer alone does not tell that they changed."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.errors import DataError
from embed_corpus.source.formats import kind_at
from embed_corpus.source.inspect import reason_of
from embed_corpus.store.paths import arrow_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from embed_corpus.data import Shard
    from embed_corpus.source.inspect import Columns

__all__ = ["Group", "content_of", "digest_over", "group_digests", "told_by_footer"]

Group = tuple[int, str]
"""Rows of a row group, and the digest of the bytes of its columns that are read."""

_STEP = 1 << 20
"""Bytes that are read together."""


def told_by_footer(path: str) -> bool:
    """Tell whether a source's tag, as `inspect` makes it, is of its footer: all other tags cover all bytes."""
    try:
        return kind_at(path) == "parquet"
    except OSError:  # whoever reads more of it will say so
        return True


def content_of(shard: Shard, columns: Columns) -> str:
    """Return the hex digest of the bytes that a shard's rows come from; "" where its id covers them (JSONL).

    To be called before the rows are read. What changes between the two is then found to differ by whoever compares
    later; the other way round it would be taken for what was embedded.

    Raises:
        DataError: the file can no longer be read.
    """
    if not told_by_footer(shard.path):
        return ""
    try:
        stat = Path(shard.path).stat()
        state = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        groups = _groups(shard.path, columns, shard.first_row, shard.first_row + shard.n_rows)
        hashed = [(n_rows, _kept(shard.path, spans, state)) for n_rows, spans in groups]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shard.path}: {reason_of(error)} Replace the file and run the same line again.") from error
    return digest_over(hashed)


def group_digests(path: str, columns: Columns) -> list[Group]:
    """Read the columns of a Parquet file, and return the digest of each row group.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        return [(n_rows, _hashed(path, spans)) for n_rows, spans in _groups(path, columns)]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: {reason_of(error)} Replace the file, or take it out of INPUT.") from error


def digest_over(groups: Iterable[Group], first_row: int = 0, n_rows: int = 1 << 62) -> str:
    """Return one hex digest of the row groups that hold some rows of a range."""
    over, row = hashlib.blake2b(digest_size=16), 0
    for rows, digest in groups:
        if row < first_row + n_rows and row + rows > first_row:
            over.update(digest.encode())
        row += rows
    return over.hexdigest()


_Spans = tuple[tuple[int, int], ...]
"""Where bytes lie in a file: where they begin, how many they are."""


def _groups(path: str, columns: Columns, begin: int = 0, stop: int = 1 << 62) -> Iterator[tuple[int, _Spans]]:
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


def _span(chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """Return where a column chunk lies, as Arrow reads it."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    return start, chunk.total_compressed_size


def _hashed(path: str, spans: _Spans, _state: object = None) -> str:
    """Hash what lies in some places of a file."""
    over = hashlib.sha256()
    with Path(path).open("rb", buffering=0) as file:
        for start, length in spans:
            file.seek(start)
            left = length
            while left > 0 and (read := file.read(min(left, _STEP))):
                over.update(read)
                left -= len(read)
            if left:
                raise OSError(f"{length} bytes at {start} are not there: it was cut short.")
    return over.hexdigest()


_kept = lru_cache(4)(_hashed)
"""For a row group that several shards share; by the file's size and times."""
