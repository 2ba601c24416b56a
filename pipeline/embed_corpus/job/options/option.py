"""An option is declared once, at its field: flags, job files, checks and docs/options.md come from there.

The field has the name, the type and the default; an `Option` in its annotation says the rest:

    chunk_tokens: Annotated[int | None, Option("Tokens of a chunk at most.", "N", least=1)] = None
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from inspect import get_annotations
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["Declared", "Option", "arguments_of", "options_of"]


@dataclass(frozen=True, slots=True)
class Option:
    """What an option is, beside the name, the type and the default of its field.

    Attributes:
        help: what it does, for people.
        value: what its value is called (N, COLUMN); None: by its choices, or a switch has none.
        shown: the default in words, where the value does not tell.
        least, most: bounds of a number.
        choices: the texts that it may be, where its type does not list them.
        also: other commands than `run` that take it.
        flag: whether it is a flag; INPUT and OUT are arguments.
    """

    help: str
    value: str | None = None
    shown: str | None = None
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()
    also: str = ""
    flag: bool = True


@dataclass(frozen=True, slots=True)
class Declared:
    """An option of a record.

    Attributes:
        name: its field.
        group: the class that declares it.
        kind: what its values are: bool, int, float, str, Path, or tuple (of texts).
        default: its value where nothing is said.
        choices: the texts that it may be; empty: any.
        option: all else.
    """

    name: str
    group: type
    kind: type
    default: Any
    choices: tuple[str, ...]
    option: Option

    @property
    def key(self) -> str:
        """Its key in a job file."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        """How it is written on a command line; a switch that is on by default, with its opposite."""
        return f"--{self.key}/--no-{self.key}" if self.kind is bool and self.default else f"--{self.key}"

    @property
    def help(self) -> str:
        """What it does, and the default in words if there are any."""
        return f"{self.option.help}  [default: {self.option.shown}]" if self.option.shown else self.option.help


@cache
def options_of(record: type) -> dict[str, Declared]:
    """Return the options of a dataclass by name, group by group."""
    hints = get_type_hints(record, include_extras=True)
    defaults = {field.name: field.default for field in fields(record)}
    found = {}
    for group in (*record.__bases__, record):
        for name in get_annotations(group):
            hint = hints[name]
            if get_origin(hint) is not Annotated:
                continue
            type_, option = get_args(hint)
            kind, choices = _kind(type_)
            found[name] = Declared(name, group, kind, defaults[name], option.choices or choices, option)
    return found


def _kind(hint: Any) -> tuple[type, tuple[str, ...]]:
    """Return what the values of a type are, and the texts that it lists."""
    if get_origin(hint) in (Union, UnionType):
        return _kind(next(option for option in get_args(hint) if option is not type(None)))
    if get_origin(hint) is Literal:
        return str, get_args(hint)
    found: type = get_origin(hint) or hint
    return found, ()


def arguments_of(record: object, command: str) -> list[str]:
    """Write a record's options as flags of a command: those that it takes and that are not at their defaults."""
    declared: type = type(record)
    words = []
    for each in options_of(declared).values():
        value = getattr(record, each.name)
        if command not in each.option.also.split() or value == each.default:
            continue
        if each.kind is bool:
            words.append(f"--{each.key}" if value else f"--no-{each.key}")
        else:
            words += [f"--{each.key}={one}" for one in (value if each.kind is tuple else [value])]
    return words
