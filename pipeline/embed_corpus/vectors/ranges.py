"""Ranges: between which numbers the vectors of one OUT lie, for vector types that divide them into steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MADE_AGAIN", "Ranges"]

MADE_AGAIN = "delete it and run the same line again; it is taken from a part."
"""What to do about ranges that cannot be used."""


@dataclass(frozen=True, eq=False)
class Ranges:
    """Least and greatest number of each dimension, between which a vector type has its steps; float32[dim] each."""

    minimum: NDArray[np.float32]
    maximum: NDArray[np.float32]

    @cached_property
    def step(self) -> NDArray[np.float32]:
        """Width of a step in each dimension, float32[dim]."""
        step = (self.maximum - self.minimum) / np.float32(255)
        return np.where(step == 0, np.float32(1), step)

    @classmethod
    def over(cls, vectors: NDArray[np.float32]) -> Ranges:
        """Return the ranges of some vectors, float32[n, dim]; n > 0."""
        return cls(vectors.min(axis=0), vectors.max(axis=0))

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Ranges:
        """Rebuild ranges from what `to_json` gave."""
        return cls(np.array(content["minimum"], np.float32), np.array(content["maximum"], np.float32))

    def to_json(self) -> dict[str, list[float]]:
        """Return both lists; the numbers come back to the same bits."""
        return {
            "minimum": [float(str(x)) for x in self.minimum],
            "maximum": [float(str(x)) for x in self.maximum],
        }

    def same(self, other: Ranges | None) -> bool:
        """Whether the other ranges are these, to the bit."""
        return (
            other is not None
            and np.array_equal(self.minimum, other.minimum)
            and np.array_equal(self.maximum, other.maximum)
        )
