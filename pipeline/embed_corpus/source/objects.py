"""Whether the lines of a JSONL file are objects at all, told while they are counted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from embed_corpus.source.fields import ABSENT, value_of
from embed_corpus.source.lines import BadLineError, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Objects"]

_FEW = 10
"""Lines without an object that a file may have and still be JSONL with bad rows; usual lines an array may be long."""
_MUCH = 0.001
"""Share of a file's bytes that arrays may make up."""
_SHOWN = 64 << 10
"""Bytes of a bad line that are looked at for what it is."""
_ONE = "Write one object a line (`jq -c '.[]'`)"
_ARRAY = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*(\{|$)")
"""How an array of objects begins, as a line of a log (`[INFO]`) does not."""


class Objects:
    """What is noted of a file's lines: whether any is an object, the first that is none, and how much are arrays."""

    def __init__(self) -> None:
        self.any = False
        self._bad: tuple[str, bytes, str] | None = None
        self._arrays = self._array_bytes = self._first_array = 0

    def keys(self, line: bytes | None, row: int, wanted: Sequence[str] = ()) -> list[str]:
        """Return the columns of a line, and those wanted that lie deeper in it (`a.b`); none of a bad one."""
        try:
            found = parse(line, first=row == 0)
        except BadLineError as error:
            self._bad = self._bad or (f"line {row + 1}", (line or b"")[:_SHOWN], str(error))
            return []
        self.any = True
        return [*found, *(name for name in wanted if "." in name and value_of(found, name) is not ABSENT)]

    def odd(self, line: bytes | None, n_bytes: int, row: int) -> None:
        """Take note of a line that does not begin with a brace."""
        if _ARRAY.match(line or b""):
            self._first_array = self._first_array or row + 1
            self._arrays += 1
            self._array_bytes += n_bytes

    def problem(self, rows: int, n_bytes: int) -> str | None:
        """Say why a file of so many lines and bytes gives no documents, or loses many behind one line; None if not."""
        where, begin, reason = self._bad or ("", b"", "")
        if where == "line 1" and rows > 1 and _ARRAY.match(begin) and not reason.endswith("not an object"):
            return f"it holds a JSON array over {rows:,} lines. {_ONE}"
        if self._bad and not self.any:
            if cause := _cause(begin, reason, rows):
                return cause
            if rows > _FEW:
                return f"not one of its {rows:,} lines holds a JSON object ({where}: {reason})"
        usual = (n_bytes - self._array_bytes) / max(rows - self._arrays, 1)
        if self._array_bytes > max(_FEW * usual, _MUCH * n_bytes):
            return (
                f"line {self._first_array} holds a JSON array{', and others do' if self._arrays > 1 else ''}: "
                f"{self._array_bytes:,} bytes, in which about {self._array_bytes / max(usual, 1):,.0f} rows have room. "
                f"{_ONE}"
            )
        return None


def _cause(begin: bytes, reason: str, rows: int) -> str | None:
    """Say what a file without objects is by its first line, if that is certain."""
    if _ARRAY.match(begin):
        return f"it holds a JSON array. {_ONE}"
    if "Extra data" in reason and re.match(rb"(\xef\xbb\xbf)?\s*\{", begin):
        if b"\r" in begin.strip():
            return "its lines end with \\r alone, as on old Macs. Write \\n (`tr '\\r' '\\n'`)"
        return "several objects stand on one line. Write one a line (`jq -c .`)"
    if rows > 1 and begin.removeprefix(b"\xef\xbb\xbf").strip() == b"{":
        return "an object stands on several lines. Write one a line (`jq -c .`)"
    return None
