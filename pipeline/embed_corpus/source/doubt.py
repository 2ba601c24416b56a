"""Files whose endings promise no data: a `.json` in a folder may be settings, a `.parquet.gz` packed as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from embed_corpus.data import Reason
from embed_corpus.source.formats import is_sure, kind_of, wrong_kind
from embed_corpus.source.jsonl import BadLineError, lines, open_stream, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["no_data"]

_FIRST_LINE = 64 << 20
"""Bytes of a first line that are parsed; what is longer is taken for data."""


def no_data(path: str, text: Sequence[str]) -> str | None:
    """Say why a file that lies in a folder beside others is no data; None if it is, or cannot be read.

    JSON lines are told by two lines with an object each, or a single one that has a `text` column.
    """
    if is_sure(path):
        return None
    try:
        if kind_of(path) == "jsonl":
            return _no_lines(Path(path), text)
        told = wrong_kind(Path(path), "parquet") or ""
        return "pages that are packed as a whole" if told.startswith("packed") else None
    except OSError:
        return None  # inspecting it tells


def _no_lines(path: Path, text: Sequence[str]) -> str | None:
    if wrong_kind(path, "jsonl"):
        return None  # inspecting it tells
    objects: list[dict[str, Any]] = []
    with open_stream(path) as stream:
        for line, size in lines(stream, _FIRST_LINE):
            begin = (line or b"").removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
            if size and not begin and line is not None:
                continue  # a blank line
            if begin == b"[":
                return "a JSON array"
            try:
                objects.append(parse(line, first=True))
            except BadLineError as error:
                if error.reason is Reason.TOO_LARGE:
                    return None
                break
            if len(objects) == 2:
                return None
        else:
            if not objects:
                return None  # empty
    if objects and any(name in objects[0] for name in text):
        return None
    return f"an object without {' or '.join(map(repr, text))}" if objects else "an object over many lines"
