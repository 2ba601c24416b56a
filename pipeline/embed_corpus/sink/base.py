"""What takes the rows of one shard with their vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.data import Chunked, Counts

__all__ = ["Sink"]


class Sink(Protocol):
    """One shard's rows on their way out of the pipeline: a part, or nothing."""

    def append(self, block: Chunked, vectors: NDArray[np.float32]) -> Counts:
        """Take a block's vectors, in order, and return what they add to the counts.

        Raises:
            OutputError: they cannot be written.
        """
        ...

    def commit(self, content: str = "") -> dict[str, Any]:
        """Make the rows visible, all at once, and return what is noted of them, `counts` among it.

        `content` is a digest of the bytes that they were read from.

        Raises:
            OutputError: they cannot be written; StoreError: or not be published.
        """
        ...

    def close(self) -> None:
        """Drop what was not committed."""
        ...
