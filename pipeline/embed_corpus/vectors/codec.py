"""Codecs: what vectors of a type and a dimension become in a part, and how they are made vectors of floats again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from embed_corpus.vectors.ranges import Ranges
from embed_corpus.vectors.table import VECTOR_TYPES, vector_type

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.vectors.base import VectorType

__all__ = ["Codec", "codec_of"]

_RANGES, _NAME = b"embed_corpus.ranges", b"embed_corpus.vector_type"


@dataclass(frozen=True, eq=False)
class Codec:
    """How vectors of `dim` numbers are stored: `kind` is one of `VECTOR_TYPES`; some need `ranges`."""

    kind: str
    dim: int
    ranges: Ranges | None = None

    @cached_property
    def type(self) -> VectorType:
        """The vector type, which tells more about itself."""
        return vector_type(self.kind)

    @property
    def width(self) -> int:
        """Stored numbers a vector."""
        return self.dim // self.type.dims_each

    @property
    def n_bytes(self) -> int:
        """Bytes of a stored vector."""
        return self.width * int(self.type.stored.byte_width)

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the column."""
        return pa.list_(self.type.stored, self.width)

    def problem(self) -> str | None:
        """Say why vectors of so many dimensions cannot be stored so; None if they can."""
        each = self.type.dims_each
        if self.dim % each:
            return f"{self.dim} dimensions do not fill bytes: add --dim N, N % {each} == 0."
        return None

    def encode(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """Return finite vectors [n, dim] as they are stored, [n, width]; too large for float16 becomes infinite."""
        return self.type.encode(vectors, self.ranges)

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return stored vectors [n, width] as float32 [n, dim]."""
        return self.type.decode(stored, self.ranges)

    def metadata(self) -> dict[bytes, bytes]:
        """Return what a reader of a part needs beside the column's type: ranges, and a name that this does not tell."""
        told = {_RANGES: json.dumps(self.ranges.to_json()).encode()} if self.ranges is not None else {}
        return told if _first_stored_as(self.type.stored) == self.kind else told | {_NAME: self.kind.encode()}


def codec_of(schema: pa.Schema) -> Codec:
    """Return how the vectors of a part are stored, by its schema."""
    column, told = schema.field("embedding").type, schema.metadata or {}
    kind = told[_NAME].decode() if _NAME in told else _first_stored_as(column.value_type)
    ranges = Ranges.from_json(json.loads(told[_RANGES])) if _RANGES in told else None
    return Codec(kind, column.list_size * vector_type(kind).dims_each, ranges)


def _first_stored_as(stored: pa.DataType) -> str:
    """Return the first vector type in the table that stores such numbers: of the others a part has the name, too."""
    return next(name for name in VECTOR_TYPES if vector_type(name).stored == stored)
