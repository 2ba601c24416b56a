"""ubinary: one bit a dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.vectors.ranges import Ranges

__all__ = ["Ubinary", "signs_of"]


class Ubinary:
    """The signs, 1 above zero: the codes of sentence-transformers' `quantize_embeddings`, to the byte."""

    stored = pa.uint8()
    dims_each = 8
    exact = False
    quantised = True
    needs_ranges = False
    binary = True
    least_cosine = 0.9

    def encode(self, vectors: NDArray[np.float32], _: Ranges | None) -> NDArray[Any]:
        """Return the signs."""
        return signs_of(vectors)

    def decode(self, stored: NDArray[Any], _: Ranges | None) -> NDArray[np.float32]:
        """Return the signs, scaled to unit length."""
        signs = np.unpackbits(np.ascontiguousarray(stored), axis=1).astype(np.float32) * 2 - 1
        return signs / np.float32(signs.shape[1] ** 0.5)


def signs_of(vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return one bit a number, 1 above zero: uint8 [n, dim / 8] of [n, dim]."""
    return np.packbits(vectors > 0, axis=1)
