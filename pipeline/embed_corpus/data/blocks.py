"""What goes through the stages of a worker, in the order of the source: rows of a shard, then how the shard ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.data.chunks import Chunks
    from embed_corpus.data.rows import Rows
    from embed_corpus.data.shards import Shard

__all__ = ["Block", "Chunked", "Encoded", "Piece", "ShardEnd", "ShardFailed"]


@dataclass(frozen=True, slots=True)
class Block:
    """A bounded run of one shard's rows, and their chunks.

    `known`: float32[n, dim], vectors that the chunks have already, NaN in the rows of those that are to be
    embedded; None: all are.
    """

    shard: Shard
    rows: Rows
    chunks: Chunks
    known: NDArray[np.float32] | None = None

    def texts(self) -> list[str]:
        """Return the chunks' texts."""
        return self.chunks.texts(self.rows.table["text"].to_pylist())


@dataclass(frozen=True, slots=True)
class Piece:
    """Some chunks of a huge document, which comes in several pieces; otherwise as a block of that one row.

    The `text` in `rows` is what the chunks span, `base` characters into the document's. `more`: another piece of the
    same document follows.
    """

    shard: Shard
    rows: Rows
    chunks: Chunks
    base: int
    more: bool
    known: NDArray[np.float32] | None = None

    def texts(self) -> list[str]:
        """Return the chunks' texts."""
        return self.chunks.texts(self.rows.table["text"].to_pylist(), self.base)


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """All rows of a shard have come.

    `content`: digest of the bytes that it was read from, empty where the shard's id covers them.
    """

    shard: Shard
    content: str = ""


@dataclass(frozen=True, slots=True)
class ShardFailed:
    """The source turned out unreadable before all rows of a shard had come: nothing of it may be published."""

    shard: Shard
    reason: str


Chunked = Block | Piece
"""Rows with their chunks."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows whose chunks all have their vectors, float32[chunks, dim]."""

    block: Chunked
    vectors: NDArray[np.float32]
