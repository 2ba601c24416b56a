"""Whether the columns of a file are those asked for, and of types that fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from embed_corpus.errors import DataError
from embed_corpus.source.kept import lacks
from embed_corpus.source.partitions import folder_keys
from embed_corpus.source.types import fits_id, fits_text, has_views, plain_type

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from embed_corpus.source.columns import Columns
    from embed_corpus.source.discover import Found
    from embed_corpus.source.fields import Field

__all__ = ["check_fields", "kept_type", "missing_of"]


def check_fields(path: str, columns: Columns, there: dict[str, Field]) -> None:
    """Refuse columns that are not unique, or of a type that cannot be what they are named for.

    Raises:
        DataError: naming the column.
    """
    for name, spot in there.items():
        if spot.alike > 1:
            raise DataError(f"{path} has {spot.alike} columns {name!r}: rename one.")
        if name in columns.text and not fits_text(spot.kind):
            raise DataError(
                f"{path}: text column {name!r} is of type {spot.kind}, not text. Name another with --text-column."
            )
        if name == columns.id and not fits_id(spot.kind):
            raise DataError(
                f"{path}: id column {name!r} is of type {spot.kind}; "
                "ids are text or whole numbers or UUIDs. Name another with --id-column, or none."
            )
        if name in columns.keep and has_views(plain_type(spot.kind)):
            raise DataError(
                f"{path}: kept column {name!r} is of type {spot.kind}, which Arrow cannot copy row by row. "
                "Write it without views, as list<string>, or do not --keep it."
            )


def kept_type(file: pq.ParquetFile, spot: Field, *, coarse: bool) -> pa.DataType:
    """Return a kept column's type; INT96 is of microseconds where it is not of nanoseconds."""
    wide = coarse and file.schema.column(spot.leaves.start).physical_type == "INT96"
    return pa.timestamp("us") if wide and pa.types.is_timestamp(spot.kind) else spot.kind


def missing_of(
    found: Found, columns: Columns, absent: set[str], names: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return which columns a file lacks, which it has (if it lacks any), and which are keys of its folders.

    Raises:
        DataError: it lacks the id column, or every text column.
    """
    keys = folder_keys(found.relative) if columns.keep else {}
    from_folder = tuple(name for name in columns.keep if name in absent and name in keys)
    if columns.id in absent:
        raise DataError(lacks(found.path, columns.id, names, columns))
    if absent >= set(columns.text):
        raise DataError(lacks(found.path, columns.text[0], names, columns))
    gone = tuple(name for name in columns.all if name in absent and name not in from_folder)
    return gone, tuple(names) if gone else (), from_folder
