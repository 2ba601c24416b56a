"""Whether a file whose ending does not promise JSON lines holds some: a `.json` in a folder may be settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embed_corpus.data import Reason
from embed_corpus.source.lines import BadLineError, lines, open_stream, parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["no_lines"]

_FIRST_LINE = 64 << 20
"""Bytes of a first line that are parsed; what is longer is taken for data."""


def no_lines(path: Path, text: Sequence[str]) -> str | None:
    """Say what a file holds in place of JSON lines; None if it holds such.

    They are told by two lines with an object each, or a single one that has a `text` column.

    Raises:
        OSError: it cannot be read.
    """
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
