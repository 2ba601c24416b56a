"""The superseded rows of a shard, marked in a short text: at most a bit a row, far less where they come in runs."""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.data import Reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.data import Reject

__all__ = ["is_marked", "marks_of", "superseded_first"]


def marks_of(marked: NDArray[np.bool_], first_row: int) -> str:
    """Return the marks of a shard's rows, bool[rows] from `first_row` of the source on; empty if none is marked."""
    if not marked.any():
        return ""
    packed = base64.b64encode(zlib.compress(np.packbits(marked).tobytes(), 9))
    return f"{first_row}:{packed.decode('ascii')}"


def is_marked(rows: NDArray[np.int64], marks: str) -> NDArray[np.bool_]:
    """Tell which rows of the source are marked, bool[n]."""
    if not marks:
        return np.zeros(len(rows), bool)
    first_row, _, packed = marks.partition(":")
    bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8))
    at = rows - int(first_row)
    found: NDArray[np.bool_] = (at >= 0) & (at < len(bits)) & bits[np.clip(at, 0, len(bits) - 1)].astype(bool)
    return found


def superseded_first(rejects: list[Reject], marks: str) -> list[Reject]:
    """Return rejects; for rows that a later one supersedes that is the reason, whatever else is wrong with them."""
    marked = is_marked(np.array([reject.row for reject in rejects], np.int64), marks).tolist()
    reason = Reason.SUPERSEDED
    return [
        replace(reject, reason=reason, detail=reason.sentence) if old else reject
        for reject, old in zip(rejects, marked, strict=True)
    ]
