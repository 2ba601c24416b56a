"""int8: 256 steps between the extremes of each dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embed_corpus.errors import OutputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.vectors.ranges import Ranges

__all__ = ["Int8"]


class Int8:
    """The number of the step, less 128: the codes of sentence-transformers' `quantize_embeddings`, to the byte."""

    stored = pa.int8()
    dims_each = 1
    exact = False
    quantised = True
    needs_ranges = True
    binary = False
    least_cosine = 0.99

    def encode(self, vectors: NDArray[np.float32], ranges: Ranges | None) -> NDArray[Any]:
        """Return the number of each step.

        Raises:
            OutputError: the ranges are not there.
        """
        ranges = _there(ranges)
        steps = np.floor((vectors - ranges.minimum) / ranges.step)
        codes: NDArray[Any] = (np.clip(steps, 0, 255, out=steps) - np.float32(128)).astype(np.int8)
        return codes

    def decode(self, stored: NDArray[Any], ranges: Ranges | None) -> NDArray[np.float32]:
        """Return the middle of each step.

        Raises:
            OutputError: the ranges are not there.
        """
        ranges = _there(ranges)
        step = (ranges.maximum - ranges.minimum) / np.float32(255)  # 0 in a dimension that never changed
        return ranges.minimum + (stored.astype(np.float32) + np.float32(128.5)) * step


def _there(ranges: Ranges | None) -> Ranges:
    if ranges is None:
        raise OutputError("int8 vectors without their ranges: run the same line again.")
    return ranges
