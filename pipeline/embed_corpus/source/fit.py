"""From values of JSON to those of a column: a text, an id, a kept value of the column's type."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from embed_corpus.data import Reason
from embed_corpus.source.fields import ABSENT
from embed_corpus.source.kinds import Literal, fits_kinds, kind_of_value
from embed_corpus.source.lines import BadLineError
from embed_corpus.source.texts import most_whole

__all__ = ["as_id", "as_kept", "as_text"]

_PLAIN = {pa.bool_(): bool, pa.int64(): int, pa.float64(): float}


def as_text(value: Any, name: str) -> str | None:
    """Return a document's text; a list of texts is joined with a blank line.

    Raises:
        BadLineError: the value is no text.
    """
    if value is None or value is ABSENT:
        return None
    if isinstance(value, list) and all(item is None or isinstance(item, str) for item in value):
        value = "\n\n".join(filter(None, value))
    if not isinstance(value, str):
        raise BadLineError(Reason.WRONG_TYPE, f"{name} is a {type(value).__name__}, not text")
    return _encodable(value, name)


def as_id(value: Any, name: str) -> str | None:
    """Return a document's id as text: a text, or a whole number, with or without `.0`.

    Raises:
        BadLineError: the value is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < most_whole(pa.float64()):
        return str(int(value))
    if value is not None and value is not ABSENT and not isinstance(value, str):
        raise BadLineError(Reason.WRONG_TYPE, f"{name} is a {type(value).__name__}, neither text nor a whole number")
    return as_text(value, name)


def as_kept(value: Any, name: str, kind: pa.DataType) -> Any:
    """Fit a kept value to its column's type; where that is text, other values become their JSON.

    Raises:
        BadLineError: it does not fit, or only changed.
    """
    if value is None or value is ABSENT:
        return None
    if kind == pa.string():
        return _encodable(value if isinstance(value, str) else _dumped(value, name), name)
    if (plain := _PLAIN.get(kind)) is not None:
        if kind_of_value(value) not in fits_kinds(kind):
            raise BadLineError(Reason.WRONG_TYPE, f"{name} is {_shown(value)}, no {kind}")
        return plain(value)
    try:
        fitted = pa.scalar(value, kind)
        same = _same(fitted.as_py(), value)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        same = False
    if not same:
        raise BadLineError(Reason.WRONG_TYPE, f"{name} is a {type(value).__name__}, not {kind}")
    return fitted


def _same(fitted: Any, value: Any) -> bool:
    """Tell whether Arrow took a value as it is: it makes 1 of 1.5, and drops fields that a struct has not."""
    if isinstance(value, dict):
        if not isinstance(fitted, dict) or not value.keys() <= fitted.keys():
            return False
        return all(_same(inner, value.get(name)) for name, inner in fitted.items())
    if isinstance(value, list):
        return isinstance(fitted, list) and len(fitted) == len(value) and all(map(_same, fitted, value))
    if isinstance(value, float) and value != value:  # noqa: PLR0124  # NaN
        return bool(fitted != fitted)  # noqa: PLR0124
    return bool(fitted == value) and isinstance(fitted, bool) == isinstance(value, bool)


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, (int, float, Literal)) else f"a {type(value).__name__}"


def _dumped(value: Any, name: str) -> str:
    if isinstance(value, Literal):
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:  # parsed with fewer calls on the stack than there are now
        raise BadLineError(Reason.BAD_JSON, f"{name} is nested too deeply") from None


def _encodable(value: str, name: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadLineError(Reason.INVALID_UTF8, f"{name} holds a lone surrogate") from None
    return value
