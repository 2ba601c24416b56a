"""What the encoder eats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Batch"]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one forward pass eats: texts laid end to end, no padding between them.

    A text is a chunk, or, with late chunking, several.

    Attributes:
        input_ids: int32[T]; what lies behind the last text is padding up to a shape and belongs to none.
        position_ids: int32[T], starting at 0 with each text.
        cu_seqlens: int32[N + 1], start of each text in the batch, then the end of the last.
        max_length: tokens of the longest text.
        pooled: int32[M + 1], the same of each chunk; None: each text is one.
        texts: each chunk's text, without a prompt, for encoders that take no token ids; None: nobody asked for them.
    """

    input_ids: NDArray[np.int32]
    position_ids: NDArray[np.int32]
    cu_seqlens: NDArray[np.int32]
    max_length: int
    pooled: NDArray[np.int32] | None = None
    texts: tuple[str, ...] | None = None

    @property
    def chunk_edges(self) -> NDArray[np.int32]:
        """Start of each chunk in the batch, then the end of the last, int32."""
        return self.cu_seqlens if self.pooled is None else self.pooled

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return len(self.chunk_edges) - 1
