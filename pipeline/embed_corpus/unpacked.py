"""The unpacked bytes of a file: gzip, bzip2 and xz member by member, zstd through Arrow."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from embed_corpus.store.paths import is_utf8

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Unpacked", "left_behind"]

_BOMB_BYTES = 1 << 30
"""A packed file that unpacks to more, and to more than `_BOMB_RATIO` times its size, is not read on."""
_BOMB_RATIO = 1100
"""Over what gzip can do at its best (1032)."""
_XZ_MEMORY = 512 << 20
"""Bytes that xz may take; what `xz -9` writes takes 65 MiB."""
_PIECE = 256 << 10
_MOST_BEHIND = 4 << 10
"""Bytes behind the end of a gzip or bzip2 file that are passed over, as `zcat` does; more may be a lost part of it."""
_MARKS = {"gzip": b"\x1f\x8b\x08", "bzip2": b"BZh", "xz": b"\xfd7zXZ\x00"}
"""How each member begins."""


def _opened(path: Path) -> pa.NativeFile:
    """Open a file; Arrow itself takes no path that is no UTF-8."""
    return pa.OSFile(str(path)) if is_utf8(path) else pa.PythonFile(path.open("rb"))


class Unpacked(io.RawIOBase):
    """The unpacked bytes of a file, as far as they are in proportion to it.

    A file cut short is never taken for one that ends there (python-zstandard's reader does that, Arrow's does not).

    Raises:
        OSError: without a number, for what is wrong with its content.
    """

    def __init__(self, path: Path, codec: str) -> None:
        size = path.stat().st_size
        self._most = max(_BOMB_BYTES, _BOMB_RATIO * size)
        self._read = 0
        if not size:  # for Arrow that is a stream of nothing
            raise OSError(f"no {codec} stream: the file is empty")
        self._stream: Any = pa.CompressedInputStream(_opened(path), codec) if codec == "zstd" else _Members(path, codec)

    @property
    def behind(self) -> int:
        """Bytes behind the last member that were passed over, known at the end."""
        return getattr(self._stream, "behind", 0)

    def readable(self) -> bool:  # noqa: D102
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: D102
        n_bytes: int = self._stream.readinto(buffer)
        self._read += n_bytes
        if self._read > self._most:
            raise OSError(
                f"it unpacks to over {_BOMB_RATIO} times its size, as a bomb does. If it is none, unpack it yourself"
            )
        return n_bytes

    def close(self) -> None:  # noqa: D102
        if not self.closed:
            self._stream.close()
        super().close()


def left_behind(stream: io.BufferedReader) -> int:
    """Return the bytes behind the end of a packed stream that were passed over; 0 before its end was reached."""
    return stream.raw.behind if isinstance(stream.raw, Unpacked) else 0


class _Members:
    """Members one behind the other, zero bytes between and behind them (of tapes and blocks) passed over."""

    def __init__(self, path: Path, codec: str) -> None:
        self._file = path.open("rb")
        self._codec = codec
        self._unpack = _unpacker(codec)
        self._held = b""  # packed, and not given to the unpacker
        self.behind = 0
        self._ended = False

    def readinto(self, buffer: Any) -> int:
        while not self._ended:
            if self._unpack.eof and not self._next_member():
                break
            if not self._held and self._unpack.needs_input:
                self._held = self._file.read(_PIECE)
                if not self._held:
                    raise OSError("Truncated compressed stream: the file is cut short")
            piece, self._held = self._held, b""
            try:
                out = self._unpack.decompress(piece, len(buffer))
            except (OSError, zlib.error, lzma.LZMAError) as error:
                raise OSError(f"{self._codec} decompress failed: {error}") from error
            if self._unpack.eof:
                self._held = self._unpack.unused_data
            if out:
                buffer[: len(out)] = out
                return len(out)
        return 0

    def close(self) -> None:
        self._file.close()

    def _next_member(self) -> bool:
        """Go to where the next member begins; False if there is none."""
        mark = _MARKS[self._codec]
        self._held = self._held.lstrip(b"\0")
        while not self._held:
            piece = self._file.read(_PIECE)
            if not piece:
                self._ended = True
                return False
            self._held = piece.lstrip(b"\0")
        self._held += self._file.read(_PIECE)
        if self._held.startswith(mark) or mark.startswith(self._held):
            self._unpack = _unpacker(self._codec)
            return True
        if self._codec == "xz" or len(self._held) > _MOST_BEHIND or mark in self._held:
            raise OSError(f"{self._codec} decompress failed: behind one of its members stand bytes that are none")
        self.behind = len(self._held)
        self._ended = True
        return False


def _unpacker(codec: str) -> Any:
    if codec == "gzip":
        return _Gzip()
    return bz2.BZ2Decompressor() if codec == "bzip2" else lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


class _Gzip:
    """One member, with the interface that the standard library's other unpackers have."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, piece: bytes, most: int) -> bytes:
        out = self._inflate.decompress(self._inflate.unconsumed_tail + piece, most)
        self.needs_input = len(out) < most  # else more of what it was given may come
        return out
