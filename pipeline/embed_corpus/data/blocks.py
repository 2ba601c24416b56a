"""What goes through the stages of a worker, in the order of the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.data.chunks import Chunks
    from embed_corpus.data.rows import Rows
    from embed_corpus.data.shards import Shard

__all__ = ["Block"]


@dataclass(frozen=True, slots=True)
class Block:
    """A bounded run of one shard's rows on its way through the stages.

    A block without rows ends its shard: it is complete, or, with an `error`, the source turned
    out unreadable there and nothing of the shard may be published. `known`: float32[n, dim], vectors
    that the chunks have already, NaN in the rows of those that are to be embedded; None: all are.
    `content`, at the end of a shard: digest of the bytes that it was read from, empty where its id covers them.

    A huge document comes as several blocks, each with some of its chunks; but for the last they say that
    there is `more`. Their `text` is what their chunks span, `base` characters into the document's.
    """

    shard: Shard
    rows: Rows | None = None
    chunks: Chunks | None = None
    error: str = ""
    known: NDArray[np.float32] | None = None
    more: bool = False
    base: int = 0
    content: str = ""
