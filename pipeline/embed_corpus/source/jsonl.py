"""JSONL files as bytes and as values: plain, gzip or zstd, one JSON object a line."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LINE_LIMIT", "BadLineError", "lines", "open_stream", "parse"]

LINE_LIMIT = 512 << 20
"""Bytes of the longest line that is held in memory; longer ones become rejects."""

_CODECS = {".gz": "gzip", ".zst": "zstd"}


class BadLineError(Exception):
    """A line that is no usable JSON object; `args` are the reason and a detail."""


def open_stream(path: Path, offset: int = 0) -> io.BufferedReader:
    """Open the decompressed bytes of a file at `offset`.

    Arrow's codecs are used because they raise on a file cut short; python-zstandard's
    reader ends silently there.

    Raises:
        OSError: the file cannot be opened, or (also while reading) decompressed.
    """
    codec = _CODECS.get(path.suffix.lower())
    if codec is None:
        stream = path.open("rb")
        stream.seek(offset)
        return stream
    unpacked = pa.CompressedInputStream(pa.OSFile(str(path)), codec)
    stream = io.BufferedReader(cast("io.RawIOBase", unpacked), 1 << 20)
    while offset and (passed := len(stream.read(min(offset, 1 << 20)))):
        offset -= passed
    return stream


def lines(stream: io.BufferedReader, limit: int = LINE_LIMIT) -> Iterator[tuple[bytes | None, int]]:
    """Yield each line and its size in bytes; a line over `limit` is passed over and comes as None."""
    while line := stream.readline(limit):
        size = len(line)
        if size < limit or line.endswith(b"\n"):
            yield line, size
            continue
        while rest := stream.readline(1 << 20):
            size += len(rest)
            if rest.endswith(b"\n"):
                break
        yield None, size


def parse(line: bytes | None, *, first: bool) -> dict[str, Any]:
    """Parse one line into its object; `first` says that a byte order mark may precede it.

    Raises:
        BadLineError: with a reason (`too_large`, `invalid_utf8`, `bad_json`) and a detail.
    """
    if line is None:
        raise BadLineError("too_large", f"line over {LINE_LIMIT >> 20} MiB")
    if first:
        line = line.removeprefix(b"\xef\xbb\xbf")
    try:
        value = json.loads(line.rstrip().decode(), object_pairs_hook=_unique) if line.strip() else {}
    except UnicodeDecodeError as error:
        raise BadLineError("invalid_utf8", f"byte {error.start} of the line") from None
    except ValueError as error:
        raise BadLineError("bad_json", str(error)) from None
    except RecursionError:
        raise BadLineError("bad_json", "nested too deeply") from None
    if not isinstance(value, dict):
        raise BadLineError("bad_json", f"a {type(value).__name__}, not an object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key given twice: which of the two values counts would be a guess."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is given twice")
    return value
