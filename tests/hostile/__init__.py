"""Input that is broken, strange or meant to do harm, small and made on the spot, each with its verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from embed_corpus.source.columns import Columns

TEXT = Columns(("text",))
WITH_ID = Columns(("text",), "id")


@dataclass(frozen=True)
class Case:
    """A folder of input and what must become of it.

    Attributes:
        name: of the case.
        make: writes the files into an empty folder.
        says: what the error says, as a pattern; None: there is none, every row comes out.
        file: the file that the error names.
        texts: of the documents in order, or how many there are.
        rejects: how many rows of each reason.
        any_verdict: an error or not (it depends on the codec): only the contract must hold.
        between: what happens to the folder between the plan and the reading.
        columns: that are read.
        peak_mb: memory that a process takes at most, all of Arrow included; 0: not measured.
    """

    name: str
    make: Callable[[Path], object]
    says: str | None = None
    file: str = ""
    texts: list[str] | int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    any_verdict: bool = False
    between: Callable[[Path], object] | None = None
    columns: Columns = TEXT
    peak_mb: int = 0

    def __str__(self) -> str:
        return self.name


def holding(name: str, content: bytes) -> Callable[[Path], object]:
    """A maker of one file."""
    return lambda folder: (folder / name).write_bytes(content)
