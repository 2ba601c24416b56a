"""Vector types: what a vector becomes in a part, and how it is made a vector of floats again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embed_corpus.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["MADE_AGAIN", "VECTOR_TYPES", "Codec", "Ranges", "codec_of", "read_ranges"]

VECTOR_TYPES = {"float32": pa.float32(), "float16": pa.float16(), "int8": pa.int8(), "ubinary": pa.uint8()}
"""Names as sentence-transformers has them, and the type of a stored number."""
_KEY = b"embed_corpus.ranges"
MADE_AGAIN = "delete it and run the same line again; it is taken from a part."
"""What to do about ranges that cannot be used."""


@dataclass(frozen=True, eq=False)
class Ranges:
    """Least and greatest number of each dimension, between which int8 has 256 steps; float32[dim] each."""

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


@dataclass(frozen=True, eq=False)
class Codec:
    """How vectors of `dim` numbers are stored: `kind` is one of `VECTOR_TYPES`; int8 needs `ranges`."""

    kind: str
    dim: int
    ranges: Ranges | None = None

    @property
    def width(self) -> int:
        """Stored numbers a vector: a byte holds eight dimensions of ubinary."""
        return self.dim // 8 if self.kind == "ubinary" else self.dim

    @property
    def n_bytes(self) -> int:
        """Bytes of a stored vector."""
        return self.width * int(VECTOR_TYPES[self.kind].byte_width)

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the column."""
        return pa.list_(VECTOR_TYPES[self.kind], self.width)

    @property
    def quantised(self) -> bool:
        """Whether a stored number stands for a stretch of numbers, and lengths are kept roughly at best."""
        return self.kind in {"int8", "ubinary"}

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """Return finite vectors [n, dim] as they are stored, [n, width]; too large for float16 becomes infinite.

        int8 and ubinary are the codes of sentence-transformers' `quantize_embeddings`, to the byte: the number of
        the step, less 128; one bit a dimension, 1 above zero.
        """
        if self.kind == "ubinary":
            bits: NDArray[Any] = np.packbits(vectors > 0, axis=1)
            return bits
        if self.kind == "int8":
            ranges = self._ranges()
            steps = np.floor((vectors - ranges.minimum) / ranges.step)
            codes: NDArray[Any] = (np.clip(steps, 0, 255, out=steps) - np.float32(128)).astype(np.int8)
            return codes
        with np.errstate(over="ignore"):
            stored: NDArray[Any] = np.ascontiguousarray(vectors.astype(self.kind, copy=False))
        return stored

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return stored vectors [n, width] as float32 [n, dim].

        int8 gives the middle of each step; ubinary the signs, scaled to unit length.
        """
        if self.kind == "ubinary":
            signs = np.unpackbits(np.ascontiguousarray(stored), axis=1).astype(np.float32) * 2 - 1
            return signs / np.float32(self.dim**0.5)
        if self.kind == "int8":
            ranges = self._ranges()
            step = (ranges.maximum - ranges.minimum) / np.float32(255)  # 0 in a dimension that never changed
            return ranges.minimum + (stored.astype(np.float32) + np.float32(128.5)) * step
        return np.ascontiguousarray(stored, dtype=np.float32)

    def metadata(self) -> dict[bytes, bytes]:
        """Return what a reader of a part needs beside the column's type: the ranges of int8."""
        return {_KEY: json.dumps(self.ranges.to_json()).encode()} if self.ranges is not None else {}

    def _ranges(self) -> Ranges:
        if self.ranges is None:
            raise OutputError("int8 vectors without their ranges: run the same line again.")
        return self.ranges


def codec_of(schema: pa.Schema) -> Codec:
    """Return how the vectors of a part are stored, by its schema."""
    column = schema.field("embedding").type
    kind = next(name for name, stored in VECTOR_TYPES.items() if stored == column.value_type)
    told = (schema.metadata or {}).get(_KEY)
    ranges = Ranges.from_json(json.loads(told)) if told else None
    return Codec(kind, column.list_size * (8 if kind == "ubinary" else 1), ranges)


def read_ranges(file: Path, dim: int) -> Ranges:
    """Read the ranges of an OUT.

    Raises:
        OutputError: the file is damaged.
    """
    try:
        ranges = Ranges.from_json(json.loads(file.read_text(encoding="utf8")))
        sound = (dim,) == ranges.minimum.shape == ranges.maximum.shape and not (ranges.minimum > ranges.maximum).any()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{file} cannot be read ({error}): {MADE_AGAIN}") from error
    if not sound:
        raise OutputError(f"{file} does not hold the ranges of {dim} dimensions: {MADE_AGAIN}")
    return ranges
