"""What a value of each option has to be, wherever it comes from: Python, or a job file."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path

__all__ = ["MAY_BE_NUMBERS", "wanted_form"]

_LARGEST = 1 << 62
"""Whole numbers above would not fit where they are counted."""
_SHOWN = 60
"""Characters of a wrong value that a message shows."""

_FORMS = {
    bool: ("True or False", "true or false"),
    int: ("a whole number", "a whole number"),
    float: ("a number", "a number"),
    str: ("a text", 'a text, "…"'),
    Path: ("a path", 'a path, "…"'),
    tuple: ("a tuple of texts, ('…', '…')", 'a list of texts, ["…", "…"]'),
}
"""How a value of each kind is asked for: in Python, in TOML."""
MAY_BE_NUMBERS = {"max_rejects", "max_memory", "devices"}
"""Texts that mostly are numbers: 0.01, 8000000000, 0."""


def wanted_form(name: str, kind: type, value: object, *, toml: bool = False) -> str:
    """Say what a value is and what was wanted in its place; empty if it fits."""
    if name in MAY_BE_NUMBERS and _fits(float, value):
        return ""
    if _fits(kind, value):
        return ""
    if kind is tuple and isinstance(value, str):
        shown = _described(value, toml=toml)
        return f"{shown} is given where {f'a list is wanted: [{shown}]' if toml else f'a tuple is wanted: ({shown},)'}"
    what = f"the number {value}" if kind is int and _fits(float, value) else _described(value, toml=toml)
    return f"{what} is given where {_FORMS[kind][toml]} is wanted"


def _fits(kind: type, value: object) -> bool:
    if kind is tuple:
        return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(v, str) for v in value)
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, Integral) and abs(int(value)) <= _LARGEST
    if kind is float:
        return isinstance(value, Real) and (not isinstance(value, Integral) or abs(int(value)) <= _LARGEST)
    return isinstance(value, (str, os.PathLike) if kind is Path else str)


def _described(value: object, *, toml: bool) -> str:
    """Show a value as it was written, not all of a long one."""
    if isinstance(value, bool) and toml:
        return str(value).lower()
    if toml and isinstance(value, dict):
        return "a table"
    if isinstance(value, dt.date | dt.time):
        return f"the {'time' if isinstance(value, dt.time) else 'date'} {value}"
    shown = json.dumps(value, ensure_ascii=False) if toml and isinstance(value, str) else repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
