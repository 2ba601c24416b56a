"""JSONL files as bytes and as values: plain or packed, one JSON object a line."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

from embed_corpus.data import Reason
from embed_corpus.source.endings import packing
from embed_corpus.unpacked import Unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LINE_LIMIT", "BadLineError", "lines", "open_stream", "parse"]

LINE_LIMIT = 512 << 20
"""Bytes of the longest line that is held in memory; longer ones become rejects."""

_MOST_VALUES = 10_000_000
"""Commas and brackets of a line at most: parsed, each may take a hundred bytes (`[[],[],…` 24 times its size)."""
_TAIL = 1 << 10
"""Bytes of a line's end that are looked at together for white space."""


class BadLineError(Exception):
    """A line that is no usable JSON object: the reason, and a detail."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


def open_stream(path: Path, offset: int = 0) -> io.BufferedReader:
    """Open the decompressed bytes of a file at `offset`.

    Raises:
        OSError: the file cannot be opened, or (also while reading) decompressed.
    """
    codec = packing(path)
    if codec is None:
        stream = path.open("rb")
        stream.seek(offset)
        return stream
    stream = io.BufferedReader(Unpacked(path, codec), 1 << 20)
    while offset and (passed := len(stream.read(min(offset, 1 << 20)))):
        offset -= passed
    return stream


def lines(stream: io.BufferedReader, limit: int = LINE_LIMIT) -> Iterator[tuple[bytes | None, int]]:
    """Yield each line and its size in bytes; a line over `limit` is passed over and comes as None."""
    while True:
        held = [stream.readline(limit)]  # in a list, so that it can be given away: a line may have 100 MB
        size = len(held[0])
        if not size:
            return
        if size == limit and not held[0].endswith(b"\n"):
            while rest := stream.readline(1 << 20):
                size += len(rest)
                if rest.endswith(b"\n"):
                    break
            yield None, size
        else:
            yield held.pop(), size


def parse(line: bytes | None, *, first: bool) -> dict[str, Any]:
    """Parse one line into its object; `first` says that a byte order mark may precede it.

    Raises:
        BadLineError: it is too large, no UTF-8 or no JSON object.
    """
    if line is None:
        raise BadLineError(Reason.TOO_LARGE, f"line over {LINE_LIMIT >> 20} MiB")
    if len(line) > _MOST_VALUES and sum(map(line.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise BadLineError(Reason.TOO_LARGE, f"line of over {_MOST_VALUES:,} values")
    if first:
        line = line.removeprefix(b"\xef\xbb\xbf")
    end = len(line)  # less white space, found without a copy of a line of 100 MB
    while (tail := line[max(end - _TAIL, 0) : end]).isspace():
        end -= len(tail)
    end -= len(tail) - len(tail.rstrip())
    try:
        value = json.loads(str(memoryview(line)[:end], "utf8"), object_pairs_hook=_unique) if end else {}
    except UnicodeDecodeError as error:
        raise BadLineError(Reason.INVALID_UTF8, f"byte {error.start} of the line") from None
    except ValueError as error:
        raise BadLineError(Reason.BAD_JSON, str(error)) from None
    except RecursionError:
        raise BadLineError(Reason.BAD_JSON, "nested too deeply") from None
    if not isinstance(value, dict):
        raise BadLineError(Reason.BAD_JSON, f"a {type(value).__name__}, not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key given twice: which of the two values counts would be a guess."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice")
    return value
