"""Keys of folders, as Hive, Spark, pandas and polars write them: `lang=de/day=2024-01-01/part.parquet`."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from embed_corpus.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["folder_keys", "folder_value", "type_of_values"]

_NULL = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def folder_keys(relative: str) -> dict[str, str | None]:
    """Return the keys of the folders on the path of a file, relative to its INPUT, and their values; None is null.

    Raises:
        DataError: a key stands twice with two values, or a name is no UTF-8 once decoded.
    """
    keys: dict[str, str | None] = {}
    for folder in relative.split("/")[:-1] if "=" in relative else ():
        name, equals, text = folder.partition("=")
        if not equals or not name:
            continue
        try:
            name, value = unquote(name, errors="strict"), unquote(text, errors="strict")
        except UnicodeDecodeError:
            raise DataError(f"{relative}: the folder {folder!r} is no UTF-8 once decoded. Rename the folder.") from None
        decoded = None if value == _NULL else value
        if keys.setdefault(name, decoded) != decoded:
            raise DataError(f"{relative}: two folders give the key {name!r} two values. Rename one.")
    return keys


def type_of_values(values: Iterable[str | None]) -> pa.DataType:
    """Return the type of a key's values: int64 or date32 if all are such, else text (also if all are null)."""
    known = {value for value in values if value is not None}
    for kind in (pa.int64(), pa.date32()):
        if known and all(_parsed(value, kind) is not None for value in known):
            return kind
    return pa.string()


def folder_value(value: str | None, kind: pa.DataType) -> pa.Scalar:
    """Return a key's value as a scalar of a type.

    Raises:
        DataError: it is none of that type.
    """
    if value is None:
        return pa.scalar(None, kind)
    if kind == pa.string():
        return pa.scalar(value, kind)
    if (parsed := _parsed(value, kind)) is None:
        raise DataError(f"the folder value {value!r} is no {kind}: rename the folder, or give the column another type.")
    return parsed


def _parsed(value: str, kind: pa.DataType) -> pa.Scalar | None:
    try:
        if pa.types.is_integer(kind):
            return pa.scalar(int(value), kind) if _WHOLE.fullmatch(value) else None
        if pa.types.is_date(kind):
            return pa.scalar(date.fromisoformat(value), kind) if _DAY.fullmatch(value) else None
        if pa.types.is_floating(kind):
            return pa.scalar(float(value), kind) if _NUMBER.fullmatch(value) else None
        if pa.types.is_boolean(kind):
            return {"true": pa.scalar(True), "false": pa.scalar(False)}.get(value.lower())
    except (ValueError, OverflowError, pa.ArrowException):
        pass
    return None
