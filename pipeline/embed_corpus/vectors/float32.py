"""float32: the numbers as the model gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.vectors.ranges import Ranges

__all__ = ["Float32"]


class Float32:
    """Numbers of 32 bits."""

    stored = pa.float32()
    dims_each = 1
    exact = True
    quantised = False
    needs_ranges = False
    binary = False
    least_cosine = 0.999

    def encode(self, vectors: NDArray[np.float32], _: Ranges | None) -> NDArray[Any]:
        """Return the vectors themselves."""
        with np.errstate(over="ignore"):  # of means, which are float64
            return np.ascontiguousarray(vectors, dtype=np.float32)

    def decode(self, stored: NDArray[Any], _: Ranges | None) -> NDArray[np.float32]:
        """Return the vectors themselves."""
        return np.ascontiguousarray(stored, dtype=np.float32)
