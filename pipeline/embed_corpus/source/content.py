"""A digest of the bytes that a shard's rows come from, where its format's tag alone does not tell that they changed."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from embed_corpus.errors import DataError
from embed_corpus.source.formats.base import reason_of
from embed_corpus.source.formats.table import FORMATS, format_named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from embed_corpus.data import Shard
    from embed_corpus.source.columns import Columns
    from embed_corpus.source.formats.base import Source, Span

__all__ = ["Group", "content_of", "digest_over", "group_digests"]

Group = tuple[int, str]
"""Rows of a row group, and the digest of the bytes of its columns that are read."""

_ALL = 1 << 62
"""More rows than any file has."""
_STEP = 1 << 20
"""Bytes that are read together."""


def content_of(shard: Shard, columns: Columns) -> str:
    """Return the hex digest of the bytes that a shard's rows come from; "" where its id covers them (JSONL).

    To be called before the rows are read. What changes between the two is then found to differ by whoever compares
    later; the other way round it would be taken for what was embedded.

    Raises:
        DataError: the file can no longer be read.
    """
    if FORMATS[shard.format].tag_covers_all:
        return ""
    try:
        stat = Path(shard.path).stat()
        state = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        stop = shard.first_row + shard.n_rows
        groups = format_named(shard.format).spans(shard.path, columns, shard.first_row, stop)
        hashed = [(n_rows, _kept(shard.path, spans, state)) for n_rows, spans in groups]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{shard.path}: {reason_of(error)} Replace the file and run the same line again.") from error
    return digest_over(hashed)


def group_digests(source: Source, columns: Columns) -> list[Group]:
    """Read the columns of a file, and return the digest of each row group; nothing where its tag covers all bytes.

    Raises:
        DataError: the file cannot be read.
    """
    groups = format_named(source.format).spans(source.path, columns, 0, _ALL)
    try:
        return [(n_rows, _hashed(source.path, spans)) for n_rows, spans in groups]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{source.path}: {reason_of(error)} Replace the file, or take it out of INPUT.") from error


def digest_over(groups: Iterable[Group], first_row: int = 0, n_rows: int = _ALL) -> str:
    """Return one hex digest of the row groups that hold some rows of a range."""
    over, row = hashlib.blake2b(digest_size=16), 0
    for rows, digest in groups:
        if row < first_row + n_rows and row + rows > first_row:
            over.update(digest.encode())
        row += rows
    return over.hexdigest()


def _hashed(path: str, spans: Iterable[Span], _state: object = None) -> str:
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
