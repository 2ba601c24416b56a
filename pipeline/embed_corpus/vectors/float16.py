"""float16: 11 significant bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.vectors.ranges import Ranges

__all__ = ["Float16"]


class Float16:
    """Numbers of 16 bits."""

    stored = pa.float16()
    dims_each = 1
    exact = False
    quantised = False
    needs_ranges = False
    binary = False
    least_cosine = 0.999

    def encode(self, vectors: NDArray[np.float32], _: Ranges | None) -> NDArray[Any]:
        """Return rounded numbers; what is too large becomes infinite."""
        with np.errstate(over="ignore"):
            stored: NDArray[Any] = np.ascontiguousarray(vectors.astype(np.float16))
        return stored

    def decode(self, stored: NDArray[Any], _: Ranges | None) -> NDArray[np.float32]:
        """Return the numbers as they were rounded."""
        return np.ascontiguousarray(stored, dtype=np.float32)
