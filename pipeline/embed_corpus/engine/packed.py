"""A packed batch on its device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["POOLED_ROWS", "Packed"]

POOLED_ROWS = 512
"""Rows that go through the end of the last layer together: always so many, because a product with
another number of rows may add up in another order."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Texts laid end to end; tokens after the last text are padding and belong to none.

    Attributes:
        ids: int32[T].
        positions: int32[T], as the model counts them (RoBERTa's family begins behind its padding index).
        edges: int32[N + 1], where each text begins, then where the last one ends. May go on
            with empty texts.
        max_length: upper bound of a text's tokens, the same for all batches of a job on a GPU.
        cu_seqlens: int32[N + 1] on the host, without empty texts.
        tiles: int32[3, n] for the attention kernel (`make_tiles`); None where it does not run.
        pooled_tiles: those of them that hold a token which pooling reads; None where all do.
        pooled_rows: int32, the place of that token for each text, in order, filled up with
            zeros to a multiple of `POOLED_ROWS`; None where pooling reads more than one.
        pooled: int32[M + 1], where each chunk begins, then where the last ends; None: each text is one.
    """

    ids: Tensor
    positions: Tensor
    edges: Tensor
    max_length: int
    cu_seqlens: NDArray[np.int32]
    tiles: Tensor | None = None
    pooled_tiles: Tensor | None = None
    pooled_rows: Tensor | None = None
    pooled: Tensor | None = None

    @property
    def n_texts(self) -> int:
        """Texts laid end to end."""
        return len(self.cu_seqlens) - 1

    @property
    def chunk_edges(self) -> Tensor:
        """Where each chunk begins, then where the last ends, int32."""
        return self.edges[: self.n_texts + 1] if self.pooled is None else self.pooled

    @property
    def last_tiles(self) -> Tensor | None:
        """The tiles that the last layer needs."""
        return self.tiles if self.pooled_tiles is None else self.pooled_tiles
