"""Conditions on kept columns, met before the search."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_corpus.errors import UsageError
from embed_corpus.index.rows import damaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.sink.layout import Layout

__all__ = ["rows_where"]

_SHAPE = re.compile(
    r"\s*(?P<column>.+?)(?<![=<>])\s*(?:(?P<op>!=|=|<|>)(?![=<>])|\s(?P<among>in)\s)\s*(?P<value>.*?)\s*", re.DOTALL
)
_ITEM = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,]*)\s*,""")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMPARE = {"=": pc.equal, "!=": pc.not_equal, "<": pc.less, ">": pc.greater}


def rows_where(layout: Layout, manifest: dict[str, Any], conditions: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which rows of the index meet all conditions, bool[rows]: `lang = de`, `year > 1990`, `lang in de, fr`.

    A value is read as what its column holds; quotes around it, and brackets around a list, may stand or not.
    A row without a value meets no condition.

    Raises:
        UsageError: a condition is none, or names a column that was not kept, or a value that cannot be there.
        OutputError: a part is damaged.
    """
    parsed = [_parse(text) for text in conditions]
    columns = sorted({column for column, _, _ in parsed})
    masks = []
    for part in manifest["parts"]:
        file = layout.data / part["name"]
        try:
            names = pq.read_schema(file).names
            if missing := [column for column in columns if column not in names]:
                raise UsageError(
                    f"--where {missing[0]}: no such column; there are {', '.join(sorted(names))} (see --keep)."
                )
            table = pq.read_table(file, columns=columns, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise damaged(layout, part["name"], error) from error
        mask = np.ones(len(table), np.bool_)
        for column, op, value in parsed:
            mask &= _met(table[column], column, op, value)
        masks.append(mask)
    return np.concatenate(masks)


def _parse(text: str) -> tuple[str, str, str]:
    match = _SHAPE.fullmatch(text)
    if not match:
        raise UsageError(f"--where {text!r}: give COLUMN OP VALUE with OP one of =, !=, <, >, in: 'lang = de'.")
    return match["column"], match["op"] or "in", match["value"]


def _met(column: pa.ChunkedArray, name: str, op: str, value: str) -> NDArray[np.bool_]:
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        _check_ordered(column.type, name, op, value)
        if op == "in":
            items = value[1:-1] if value[:1] + value[-1:] == "()" else value
            values = pa.array([_unquoted(item.strip()) for item in _ITEM.findall(f"{items},")]).cast(column.type)
            met = pc.and_(pc.is_in(column, value_set=values), pc.is_valid(column))
        else:
            met = pc.fill_null(_COMPARE[op](column, pa.scalar(_unquoted(value)).cast(column.type)), fill_value=False)
    except pa.ArrowException as error:
        raise UsageError(f"--where {name} {op} {value}: the column holds {column.type}: {error}") from error
    mask: NDArray[np.bool_] = met.to_numpy().astype(np.bool_)
    return mask


def _check_ordered(kind: pa.DataType, name: str, op: str, value: str) -> None:
    """Refuse to compare numbers by their letters, of which 9 comes after 100."""
    if op[0] in "<>" and kind == pa.string() and _NUMBER.fullmatch(value):
        raise UsageError(
            f"--where {name} {op} {value}: the column holds text, which is ordered by its letters ('9' after '100'). "
            f"Keep it as numbers (--keep-type {name}=int64 or double, in a new OUT), or compare as text: "
            f"{name} {op} '{value}'."
        )


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
