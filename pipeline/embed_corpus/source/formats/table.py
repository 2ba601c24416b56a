"""The table of formats: which files are read and as what, by their endings, and which module reads them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from embed_corpus.errors import DataError
from embed_corpus.firstbytes import other_kind
from embed_corpus.source.endings import JSON_LINES, PACKED, begin_of, packing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from embed_corpus.source.formats.base import Format

__all__ = [
    "ENDINGS",
    "FORMATS",
    "NAMED_BY_FLAG",
    "SUFFIXES",
    "Entry",
    "format_named",
    "format_of",
    "stem_of",
    "why_no_data",
    "wrong_kind",
]


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a format before a file is opened; only then its module is imported, and Arrow with it.

    Attributes:
        module: imports and returns the module that reads it.
        suffixes: endings of its files, with the dot, in lower case.
        told: the same for people.
        may_be_packed: whether a file may be packed as a whole, which its ending then tells, too (`.gz`).
        tag_covers_all: whether the tag that it gives a file covers all bytes, not just what tells where they lie.
        doubts: endings that do not promise data, and what looks into a file that lies in a folder among others: it
            gets the text columns, and says why the file is no data, None if it is.
    """

    module: Callable[[], Format]
    suffixes: tuple[str, ...]
    told: str
    may_be_packed: bool = False
    tag_covers_all: bool = True
    doubts: Mapping[str, Callable[[Path, Sequence[str]], str | None]] = field(default_factory=dict)

    @property
    def endings(self) -> dict[str, str]:
        """Every ending, with those of packed files, and the suffix that it is a form of."""
        ways = ("", *PACKED) if self.may_be_packed else ("",)
        return {f"{suffix}{packed}": suffix for suffix in self.suffixes for packed in ways}


def _parquet() -> Format:
    from embed_corpus.source.formats import parquet

    return parquet


def _jsonl() -> Format:
    from embed_corpus.source.formats import jsonl

    return jsonl


def _packed_as_a_whole(path: Path, _: Sequence[str]) -> str | None:
    """Say so of a `.parquet.gz` that is not what some writers mean by it: with pages packed with gzip."""
    told = wrong_kind(path, "parquet") or ""
    return "pages that are packed as a whole" if told.startswith("packed") else None


def _no_lines(path: Path, text: Sequence[str]) -> str | None:
    from embed_corpus.source.doubt import no_lines

    return None if wrong_kind(path, "jsonl") else no_lines(path, text)  # then inspecting it tells


_PAGES_PACKED = tuple(f".parquet.{how}" for how in ("gzip", "gz", "snappy", "zstd", "zst", "brotli", "br", "lz4"))
"""What some writers put behind `.parquet`: how the pages are packed, not the file."""

FORMATS: dict[str, Entry] = {
    "parquet": Entry(
        _parquet,
        (".parquet", ".parq", ".pq", *_PAGES_PACKED),
        told=".parquet, .pq, .parq",
        tag_covers_all=False,
        doubts=dict.fromkeys(_PAGES_PACKED, _packed_as_a_whole),
    ),
    "jsonl": Entry(
        _jsonl,
        JSON_LINES,
        told=".jsonl, .ndjson, .json (one object a line), each of these three also .gz, .zst, .bz2, .xz",
        may_be_packed=True,
        doubts={".json": _no_lines},  # may be settings
    ),
}
"""Every format that is read, by the name that `--format` gives it. A new one is a module, and an entry here."""

SUFFIXES = {ending: name for name, entry in FORMATS.items() for ending in entry.endings}
"""File name endings that are read, and as what."""

ENDINGS = ", ".join(entry.told for entry in FORMATS.values())
"""The same for people."""

NAMED_BY_FLAG = f"--format {' or '.join(FORMATS)}"
"""How a file is read whose ending says nothing."""


def format_named(name: str) -> Format:
    """Return what reads a format.

    Raises:
        DataError: there is none of this name.
    """
    if name not in FORMATS:
        raise DataError(f"{name!r} is no format that is read. Read are {', '.join(FORMATS)}.")
    return FORMATS[name].module()


def _ending_of(path: Path | str) -> str:
    """Return a file's ending if it is in the table, else nothing."""
    _, *ends = os.path.basename(path).lower().rsplit(".", 2)  # noqa: PTH119  # of 100,000 files
    whole, last = f".{'.'.join(ends)}", f".{ends[-1]}" if ends else ""
    return whole if whole in SUFFIXES else last if last in SUFFIXES else ""


def format_of(path: Path | str) -> str | None:
    """Return the name of a file's format by its ending, None where that says nothing."""
    return SUFFIXES.get(_ending_of(path))


def stem_of(path: str) -> str:
    """Return a file's name without the ending that tells its format."""
    name = path.rpartition("/")[2]
    return name[: len(name) - len(_ending_of(name))]


def why_no_data(path: Path | str, text: Sequence[str]) -> str | None:
    """Say why a file that lies in a folder beside others is no data; None if it is, or cannot be read.

    Only of endings that do not promise any: a `.json` may be settings, a `.parquet.gz` packed as a whole.
    """
    ending = _ending_of(path)
    if not ending:
        return None
    entry = FORMATS[SUFFIXES[ending]]
    doubt = entry.doubts.get(entry.endings[ending])
    try:
        return doubt and doubt(Path(path), text)
    except OSError:
        return None  # inspecting it tells


def wrong_kind(path: Path, name: str) -> str | None:
    """Say what a file is that should be of a format; None if it may be that.

    Raises:
        OSError: it cannot be read.
    """
    packed = packing(path, FORMATS[name].suffixes) if FORMATS[name].may_be_packed else None
    told = other_kind(begin_of(path), packed or name)
    if told and told.startswith("packed") and FORMATS[name].may_be_packed and packed is None:
        told += ", or give it that ending"
    return told
