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
    """A text of which slices are asked for, as of a `str`; valid UTF-8, one value of an Arrow array."""

    def __init__(self, value: pa.StringScalar) -> None:
        self._utf8 = np.frombuffer(value.as_buffer(), np.uint8)
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
