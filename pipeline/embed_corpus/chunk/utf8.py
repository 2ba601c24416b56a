"""A long text left as the UTF-8 that was read; as a Python string it would take up to four times as much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = ["LongText"]

_BLOCK = 64 << 10
"""Bytes between places whose character is known."""


class LongText:
    """The first text of an Arrow array, of which slices are asked for as of a `str`; valid UTF-8."""

    def __init__(self, texts: pa.StringArray) -> None:
        _, offsets, utf8 = texts.buffers()  # not `texts[0]`, which would be a copy
        begin, end = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + 2].tolist()
        self._utf8 = np.frombuffer(utf8 or b"", np.uint8)[begin:end]
        counts = [np.count_nonzero(self._begins(at)) for at in range(0, len(self._utf8), _BLOCK)]
        self._known = np.cumsum([0, *counts])

    def _begins(self, at: int) -> NDArray[np.bool_]:
        """Return which bytes of the block at `at` begin a character."""
        begins: NDArray[np.bool_] = (self._utf8[at : at + _BLOCK] & 0xC0) != 0x80
        return begins

    def __len__(self) -> int:
        return int(self._known[-1])

    def __getitem__(self, where: slice) -> str:
        first, stop, _ = where.indices(len(self))
        return self._utf8[self._byte(first) : self._byte(max(first, stop))].tobytes().decode()

    def _byte(self, char: int) -> int:
        if char == len(self):
            return len(self._utf8)
        block = int(self._known.searchsorted(char, "right")) - 1
        return block * _BLOCK + int(np.flatnonzero(self._begins(block * _BLOCK))[char - self._known[block]])
