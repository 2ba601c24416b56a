"""A sink that drops what it is given: to run the stages before it without a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embed_corpus.data import Counts, Piece

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.data import Chunked, Shard
    from embed_corpus.sink.parts import PartFormat
    from embed_corpus.store.layout import Layout

__all__ = ["NullSink"]


class NullSink:
    """Takes a shard's rows as a `PartWriter` does, keeps only their counts, and checks no vector.

    Attributes:
        shard: whose rows they are.
        counts: of the rows so far.
    """

    def __init__(self, shard: Shard, form: PartFormat, layout: Layout, numerics: str) -> None:
        """Take what a `PartWriter` is made of; nothing is opened."""
        self.shard = shard
        self.counts = Counts()

    def append(self, block: Chunked, vectors: NDArray[Any]) -> Counts:
        """Count a block's rows and chunks, and return what they add."""
        rows, chunks = block.rows, block.chunks
        tokens = int(chunks.n_tokens.sum())
        added = Counts(chunks=len(vectors), tokens=tokens, truncated=chunks.truncated, cut_words=chunks.cut_words)
        if not (isinstance(block, Piece) and block.more):  # a huge document counts once, with its last piece
            reasons = [reject.reason for reject in rows.rejects]
            rejects: dict[str, int] = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
            added += Counts(rows=len(rows.rows) + len(reasons), documents=len(rows.rows), rejects=rejects)
        self.counts += added
        return added

    def commit(self, content: str = "") -> dict[str, Any]:
        """Return the counts as a part's note has them; nothing was written."""
        return {"counts": self.counts.in_part()}

    def close(self) -> None:
        """Hold nothing that would have to be dropped."""
