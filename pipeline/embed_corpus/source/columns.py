"""Which columns of the input are read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Columns"]


@dataclass(frozen=True, slots=True)
class Columns:
    """Which input columns are read: the text's (joined), the id's (None: made up), the kept ones.

    `types` are chosen for kept columns (`--keep-type`); `strict`: no file may lack one or have it in another type;
    `partition_types`: keys of folders become numbers and dates where all of them are such.
    """

    text: tuple[str, ...]
    id: str | None = None
    keep: tuple[str, ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    strict: bool = False
    partition_types: bool = False

    @property
    def all(self) -> list[str]:
        """Every column named, once."""
        return list(dict.fromkeys([*self.text, *([self.id] if self.id else []), *self.keep]))
