"""Conditions on kept columns, met before the search."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_corpus.errors import UsageError
from embed_corpus.index.rows import damaged
from embed_corpus.sink.readback import open_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.index.schema import IndexRecord
    from embed_corpus.store.layout import Layout

__all__ = ["rows_where"]

_SHAPE = re.compile(
    r"\s*(?P<column>.+?)(?<![=<>!])\s*(?:(?P<op>!=|==|<=|>=|=|<|>)(?![=<>])|\s(?P<among>(?:not\s+)?in)\s)\s*"
    r"(?P<value>.*?)\s*",
    re.DOTALL,
)
_NULL = re.compile(r"\s*(?P<column>.+?)\s+is\s+(?P<no>not\s+)?null\s*", re.DOTALL | re.IGNORECASE)
_ITEM = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,]*)\s*,""")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MOST_DIGITS = 80
"""More than any column of numbers holds: what is larger is not written out."""
_COMPARE = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}


def rows_where(layout: Layout, manifest: IndexRecord, conditions: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which rows of the index meet all conditions, bool[rows]: `lang = de`, `year > 1990`, `lang in de, fr`.

    A value is read as what its column holds; quotes around it, and brackets around a list, may stand or not.
    A row without a value meets `is null` and nothing else. A point in time without a zone is taken in the column's.

    Raises:
        UsageError: a condition is none, or names a column that was not kept, or a value that cannot be there.
        OutputError: a part is damaged.
    """
    parsed = [_parse(text) for text in conditions]
    columns = sorted({column for column, _, _ in parsed})
    masks = []
    for part in manifest.parts:
        try:
            with open_part(layout, layout.data / part.name) as file:
                names = file.schema_arrow.names
                if missing := [column for column in columns if column not in names]:
                    raise UsageError(
                        f"--where {missing[0]}: no such column; there are {', '.join(sorted(names))} (see --keep)."
                    )
                table = file.read(columns)
        except (OSError, pa.ArrowException) as error:
            raise damaged(layout, part.name, error) from error
        mask = np.ones(len(table), np.bool_)
        for column, op, value in parsed:
            mask &= _met(table[column], column, op, value)
        masks.append(mask)
    return np.concatenate(masks)


def _parse(text: str) -> tuple[str, str, str]:
    if null := _NULL.fullmatch(text):
        return null["column"], "is not null" if null["no"] else "is null", ""
    match = _SHAPE.fullmatch(text)
    if not match:
        raise UsageError(
            f"--where {text!r}: give COLUMN OP VALUE with OP one of =, !=, <, <=, >, >=, in, not in: 'lang = de'; "
            "or COLUMN is null, COLUMN is not null."
        )
    op = match["op"] or " ".join(match["among"].split())
    return match["column"], "=" if op == "==" else op, match["value"]


def _met(column: pa.ChunkedArray, name: str, op: str, value: str) -> NDArray[np.bool_]:
    if op.startswith("is "):
        null: NDArray[np.bool_] = column.is_null().to_numpy().astype(np.bool_)
        return ~null if op == "is not null" else null
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        _check_ordered(column.type, name, op, value)
        if op in {"in", "not in"}:
            items = value[1:-1] if value[:1] + value[-1:] == "()" else value
            values = [_unquoted(item.strip()) for item in _ITEM.findall(f"{items},")]
            if column.type == pa.string():
                found = pc.is_in(column, value_set=pa.array(values, pa.string()))
            else:
                found = reduce(pc.or_, (_compared(column, "=", text) for text in values))
            met = pc.and_(pc.invert(found) if op == "not in" else found, pc.is_valid(column))
        else:
            met = _compared(column, op, _unquoted(value))
        mask: NDArray[np.bool_] = pc.fill_null(met, fill_value=False).to_numpy().astype(np.bool_)
    except (pa.ArrowException, ValueError, ArithmeticError) as error:
        told = "" if isinstance(error, ArithmeticError) else f": {str(error).splitlines()[0]}"
        raise UsageError(f"--where {name} {op} {value}: the column holds {column.type}{told}") from error
    return mask


def _compared(column: pa.ChunkedArray, op: str, text: str) -> pa.ChunkedArray:
    """Compare a column with a value as it is written, read as what the column holds.

    Raises:
        ValueError, ArithmeticError, ArrowException: it cannot be read like that.
    """
    kind, compare = column.type, _COMPARE[op]
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        number = Decimal(text)
        if not number.is_finite() or number.adjusted() > _MOST_DIGITS:
            raise ValueError(f"{text!r} is no number that a column holds")
        if pa.types.is_decimal(kind):
            return compare(column, pa.scalar(Decimal(f"{number:f}")))
        return _whole(column, op, number)
    if pa.types.is_timestamp(kind) or (pa.types.is_date(kind) and len(text) > len("2024-05-01")):
        return compare(column.cast(pa.timestamp("us")) if pa.types.is_date(kind) else column, _moment(text, kind))
    return compare(column, pa.scalar(text).cast(kind))


def _whole(column: pa.ChunkedArray, op: str, number: Decimal) -> pa.ChunkedArray:
    """Compare whole numbers with any number: by the nearest whole one, since a double does not hold all of them."""
    everything, nothing = pc.equal(column, column), pc.not_equal(column, column)  # of rows with a value
    bits = column.type.bit_width
    least, most = (
        (-(1 << bits - 1), (1 << bits - 1) - 1) if pa.types.is_signed_integer(column.type) else (0, (1 << bits) - 1)
    )
    floor, ceiling = (int(number.to_integral_value(rounding)) for rounding in (ROUND_FLOOR, ROUND_CEILING))
    if op in {"=", "!="}:
        if floor == ceiling and least <= floor <= most:
            return _COMPARE[op](column, pa.scalar(floor, column.type))
        return nothing if op == "=" else everything
    if op in {"<", "<="}:
        edge = ceiling - 1 if op == "<" else floor
        return nothing if edge < least else pc.less_equal(column, pa.scalar(min(edge, most), column.type))
    edge = floor + 1 if op == ">" else ceiling
    return nothing if edge > most else pc.greater_equal(column, pa.scalar(max(edge, least), column.type))


def _moment(text: str, kind: pa.DataType) -> pa.Scalar:
    """Read a date, or a date and time; where it names no zone it is taken in the column's."""
    moment = datetime.fromisoformat(text)
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    if zone is None and moment.tzinfo is not None:
        raise ValueError("it has no time zone: give a time without one")
    if zone is None:
        return pa.scalar(moment, pa.timestamp("us"))
    if moment.tzinfo is not None:
        return pa.scalar(moment, pa.timestamp("us", zone))
    naive = pa.scalar(moment, pa.timestamp("us"))
    return pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="earliest")


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
