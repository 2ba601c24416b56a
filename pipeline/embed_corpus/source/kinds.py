"""What kinds of values the kept columns of a JSONL file hold: every line is looked at, most of them by Arrow."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from embed_corpus.source.fields import ABSENT, value_of
from embed_corpus.source.lines import BadLineError, lines, open_stream, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KindScan", "Literal", "first_row", "fits_kinds", "kept_value", "kind_of_value", "type_of_kinds"]

_BLOCK = 1 << 20
"""Bytes of lines that Arrow is given together."""
_FIRST = 16
"""Lines of a file that tell which types to begin with."""
_EXACT = 1 << 53
"""Below this, a double holds every whole number."""
_LONGEST = 1 << 63
_UNTYPED = frozenset({"text", "json"})
"""Kinds that stay text: texts themselves, and objects and lists as their JSON."""
_FIT: dict[pa.DataType, frozenset[str]] = {
    pa.bool_(): frozenset({"bool"}),
    pa.int64(): frozenset({"int", "long", "whole"}),
    pa.float64(): frozenset({"int", "whole", "float"}),
}
"""Kinds that a type holds without a change."""
NAMES = {
    "bool": "true or false",
    "int": "a whole number",
    "long": "a whole number beyond 2**53",
    "huge": "a whole number beyond 64 bits",
    "whole": "a whole number written with a point",
    "float": "a number",
    "beyond": "a number beyond what a double holds",
    "text": "text",
    "json": "an object or a list",
    "absent": "nothing",
}


class Literal(str):
    """A number as it stands in the line."""

    __slots__ = ()


def kept_value(line: bytes, fields: dict[str, Any], name: str) -> Any:
    """Return an object's value of a column; a number too large for Python's float as its literal."""
    value = value_of(fields, name)
    if isinstance(value, float) and math.isinf(value):
        literal = value_of(json.loads(line.decode("utf-8-sig"), parse_float=Literal), name)
        return literal if isinstance(literal, Literal) else value
    return value


def kind_of_value(value: Any) -> str | None:
    """Return the kind of a value, one of the keys of `NAMES`; None of null."""
    if value is None:
        return None
    if value is ABSENT:
        return "absent"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        size = abs(value)
        return "int" if size < _EXACT else "long" if -_LONGEST <= value < _LONGEST else "huge"
    if isinstance(value, Literal):
        return "beyond"
    if isinstance(value, float):
        return "whole" if value.is_integer() and abs(value) < _EXACT else "float"
    return "text" if isinstance(value, str) else "json"


def type_of_kinds(kinds: Iterable[str]) -> pa.DataType | None:
    """Return the type that holds values of these kinds unchanged (null if there are none), None if there is none."""
    found = frozenset(kinds) - {"absent"}
    if not found:
        return pa.null()
    if found <= _UNTYPED:
        return pa.string()
    if found <= {"int", "long"}:
        return pa.int64()
    return next((kind for kind in (pa.bool_(), pa.float64()) if found <= _FIT[kind]), None)


def fits_kinds(kind: pa.DataType) -> frozenset[str]:
    """Return the kinds of values that a type of a kept column holds without a change."""
    if kind == pa.string():
        return frozenset(NAMES)
    return _FIT.get(kind, frozenset()) | {"absent"}


def first_row(path: str, name: str, kinds: frozenset[str]) -> int:
    """Return the first row of a JSONL file whose value is of one of these kinds (0 if it is gone)."""
    with open_stream(Path(path)) as stream:
        for row, (line, _) in enumerate(lines(stream)):
            try:
                fields = parse(line, first=row == 0)
            except BadLineError:
                continue
            if kind_of_value(kept_value(line or b"", fields, name)) in kinds:
                return row
    return 0


class KindScan:
    """Takes a file's lines one by one, and tells which kinds of values each column held in the end.

    Lines are collected and given to Arrow with the types found so far; where one does not fit, each of them is
    parsed as it will be when it is read.
    """

    def __init__(self, names: tuple[str, ...], *, each_line: bool = False) -> None:
        self._kinds: dict[str, set[str]] = {name: set() for name in names}
        self._each_line = each_line or any("." in name for name in names)
        self._waiting: list[bytes] = []
        self._size = 0
        self._n_parsed = 0

    def add(self, line: bytes | None) -> None:
        """Take the next line; None is one too long to be read."""
        if not self._kinds or line is None:
            return
        self._waiting.append(line)
        self._size += len(line)
        if self._size >= _BLOCK:
            self._flush()

    def found(self) -> dict[str, tuple[str, ...]]:
        """Return the kinds of each column, sorted."""
        self._flush()
        return {name: tuple(sorted(kinds)) for name, kinds in self._kinds.items()}

    def _flush(self) -> None:
        block, self._waiting, self._size = self._waiting, [], 0
        n = len(block) if self._each_line or sum(map(len, block[-1:])) > _BLOCK else _FIRST - self._n_parsed
        for line in block[: max(n, 0)]:
            self._by_python(line)
        rest = block[max(n, 0) :]
        if rest and not self._by_arrow(rest):
            for line in rest:
                self._by_python(line)

    def _by_python(self, line: bytes) -> None:
        self._n_parsed += 1
        try:
            fields = parse(line, first=True)  # a mark of the byte order further down makes a bad line: told as more
        except BadLineError:
            return
        for name, kinds in self._kinds.items():
            if (kind := kind_of_value(kept_value(line, fields, name))) is not None:
                kinds.add(kind)

    def _by_arrow(self, block: list[bytes]) -> bool:
        """Look at lines all at once; False if Arrow finds something that is new, or cannot tell it."""
        types = {name: type_of_kinds(kinds) for name, kinds in self._kinds.items()}
        if None in types.values() or any("json" in kinds for kinds in self._kinds.values()):
            return False
        joined = b"".join(block)
        try:
            table = pj.read_json(
                pa.BufferReader(joined),
                pj.ReadOptions(use_threads=False, block_size=len(joined) + 1),
                pj.ParseOptions(pa.schema(list(types.items())), unexpected_field_behavior="ignore"),
            )
        except pa.ArrowException:
            return False
        new = {name: _of_numbers(table[name], self._kinds[name]) for name in types}
        if None in new.values():
            return False
        for name, kinds in new.items():
            self._kinds[name] |= kinds or set()
        return True


def _of_numbers(column: pa.ChunkedArray, before: set[str]) -> set[str] | None:
    """Return what kinds Arrow's numbers of one column are beside those known before, None if it cannot tell."""
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return set()
    numbers = pc.drop_null(column).to_numpy()
    large = bool(len(numbers)) and not (np.abs(numbers.astype(np.float64)) < _EXACT).all()
    if pa.types.is_integer(column.type):
        return {"long"} if large else {"int"} if len(numbers) else set()
    if large:  # also what is no number, or infinite
        return None
    return set() if "float" in before or (numbers == np.trunc(numbers)).all() else {"float"}
