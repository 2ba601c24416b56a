"""What a vector type is: the seam between vectors of floats and what stands in a part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from embed_corpus.vectors.ranges import Ranges

__all__ = ["VectorType"]


class VectorType(Protocol):
    """How vectors become stored numbers, and vectors of floats again; without state.

    Attributes:
        stored: type of a stored number.
        dims_each: dimensions that a stored number holds.
        exact: whether a vector comes back as it was.
        quantised: whether a stored number stands for a stretch of numbers, and lengths are kept roughly at best.
        needs_ranges: whether it divides the ranges of OUT, which then are settled before the first vector.
        binary: whether a vector is stored as the signs of its numbers, so that an index counts the bits that differ.
        least_cosine: what a vector embedded again has at least with the stored one, on another device, too.
    """

    @property
    def stored(self) -> pa.DataType: ...  # noqa: D102
    @property
    def dims_each(self) -> int: ...  # noqa: D102
    @property
    def exact(self) -> bool: ...  # noqa: D102
    @property
    def quantised(self) -> bool: ...  # noqa: D102
    @property
    def needs_ranges(self) -> bool: ...  # noqa: D102
    @property
    def binary(self) -> bool: ...  # noqa: D102
    @property
    def least_cosine(self) -> float: ...  # noqa: D102

    def encode(self, vectors: NDArray[np.float32], ranges: Ranges | None) -> NDArray[Any]:
        """Return finite vectors [n, dim] as they are stored, [n, dim / dims_each], contiguous."""

    def decode(self, stored: NDArray[Any], ranges: Ranges | None) -> NDArray[np.float32]:
        """Return stored vectors as float32 [n, dim], contiguous."""
