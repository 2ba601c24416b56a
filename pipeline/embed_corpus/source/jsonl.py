"""JSONL files as bytes and as values: plain, gzip or zstd, one JSON object a line."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

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
_BOMB_BYTES = 1 << 30
"""A packed file that unpacks to more, and to more than `_BOMB_RATIO` times its size, is not read on."""
_BOMB_RATIO = 1100
"""Over what gzip can do at its best (1032)."""

_CODECS = {".gz": "gzip", ".zst": "zstd"}


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of a file, as far as they are in proportion to it.

    Arrow's codecs are used because they raise on a file cut short; python-zstandard's
    reader ends silently there.
    """

    def __init__(self, path: Path, codec: str) -> None:
        self._most = max(_BOMB_BYTES, _BOMB_RATIO * path.stat().st_size)
        self._read = 0
        if not path.stat().st_size:  # for Arrow that is a stream of nothing
            raise OSError(f"no {codec} stream: the file is empty")
        self._stream = pa.CompressedInputStream(pa.OSFile(str(path)), codec)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        n_bytes: int = self._stream.readinto(buffer)
        self._read += n_bytes
        if self._read > self._most:
            raise OSError(
                f"it unpacks to over {_BOMB_RATIO} times its size, as a bomb does. If it is none, unpack it yourself"
            )
        return n_bytes

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


class BadLineError(Exception):
    """A line that is no usable JSON object; `args` are the reason and a detail."""


def open_stream(path: Path, offset: int = 0) -> io.BufferedReader:
    """Open the decompressed bytes of a file at `offset`.

    Raises:
        OSError: the file cannot be opened, or (also while reading) decompressed.
    """
    codec = _CODECS.get(path.suffix.lower())
    if codec is None:
        stream = path.open("rb")
        stream.seek(offset)
        return stream
    stream = io.BufferedReader(_Unpacked(path, codec), 1 << 20)
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
        BadLineError: with a reason (`too_large`, `invalid_utf8`, `bad_json`) and a detail.
    """
    if line is None:
        raise BadLineError("too_large", f"line over {LINE_LIMIT >> 20} MiB")
    if len(line) > _MOST_VALUES and sum(map(line.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise BadLineError("too_large", f"line of over {_MOST_VALUES:,} values")
    if first:
        line = line.removeprefix(b"\xef\xbb\xbf")
    end = len(line)  # less white space, found without a copy of a line of 100 MB
    while (tail := line[max(end - _TAIL, 0) : end]).isspace():
        end -= len(tail)
    end -= len(tail) - len(tail.rstrip())
    try:
        value = json.loads(str(memoryview(line)[:end], "utf8"), object_pairs_hook=_unique) if end else {}
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
