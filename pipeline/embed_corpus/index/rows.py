"""The vectors of a snapshot's parts, numbered through, as an index takes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embed_corpus.errors import OutputError
from embed_corpus.index.manifest import HAMMING, INNER_PRODUCT, SCALED
from embed_corpus.sink.readback import open_part, schema_in, vectors_of
from embed_corpus.vectors.codec import Codec, codec_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.sink.snapshot import PartEntry
    from embed_corpus.store.layout import Layout

__all__ = ["Group", "Vectors", "damaged", "open_vectors", "scale_rows", "schema_of", "space_of"]


@dataclass(frozen=True, slots=True)
class Group:
    """A row group of a part: where it stands, number of its first row in the index, rows."""

    part: str
    number: int
    first: int
    n_rows: int


@dataclass(frozen=True)
class Vectors:
    """The vectors of some parts in their order; `scaled`: made of unit length when they are read."""

    layout: Layout
    parts: tuple[PartEntry, ...]
    codec: Codec
    scaled: bool

    @property
    def binary(self) -> bool:
        """Whether an index of them counts the bits that differ."""
        return self.codec.type.binary

    @property
    def metric(self) -> str:
        """How the index compares."""
        return HAMMING if self.binary else SCALED if self.scaled else INNER_PRODUCT

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All row groups, from the parts' footers.

        Raises:
            OutputError: a part cannot be read.
        """
        groups: list[Group] = []
        first = 0
        for part in self.parts:
            try:
                with open_part(self.layout, self.layout.data / part.name) as file:
                    footer = file.metadata
            except (OSError, pa.ArrowException) as error:
                raise damaged(self.layout, part.name, error) from error
            for i in range(footer.num_row_groups):
                groups.append(Group(part.name, i, first, footer.row_group(i).num_rows))
                first += groups[-1].n_rows
        return tuple(groups)

    @cached_property
    def n_rows(self) -> int:
        """Rows in all."""
        return sum(group.n_rows for group in self.groups)

    def stored(self, group: Group) -> NDArray[Any]:
        """Read the vectors of a row group as they are stored, [rows, width].

        Raises:
            OutputError: the part is damaged.
        """
        try:
            with open_part(self.layout, self.layout.data / group.part) as file:
                vectors = vectors_of(file.read_row_group(group.number, columns=["embedding"])["embedding"])
        except (OSError, pa.ArrowException) as error:
            raise damaged(self.layout, group.part, error) from error
        pa.default_memory_pool().release_unused()  # it keeps several row groups' worth
        return vectors

    def prepared(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Make stored vectors what the index takes: float32 [n, dim], bits uint8 [n, dim / 8]."""
        if self.binary:
            return np.ascontiguousarray(stored)
        vectors = self.codec.decode(stored)
        return scale_rows(vectors) if self.scaled else vectors

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield (number of the first row, vectors) of the rows from `begin` to `end`, a row group at a time."""
        end = self.n_rows if end is None else end
        for group in self.groups:
            a, b = max(begin, group.first), min(end, group.first + group.n_rows)
            if a < b:
                yield a, self.prepared(self.stored(group)[a - group.first : b - group.first])

    def of_parts(self, n_parts: int) -> Vectors:
        """Return those of the first `n_parts` parts."""
        return Vectors(self.layout, self.parts[:n_parts], self.codec, self.scaled)

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Read some rows, given in ascending order; only the row groups that hold them are read."""
        width = self.codec.width if self.binary else self.codec.dim
        taken = np.empty((len(rows), width), np.uint8 if self.binary else np.float32)
        for group in self.groups:
            a, b = np.searchsorted(rows, [group.first, group.first + group.n_rows])
            if a < b:
                taken[a:b] = self.prepared(self.stored(group)[rows[a:b] - group.first])
        return taken


def open_vectors(layout: Layout, parts: Sequence[PartEntry], similarity: str, *, normalized: bool) -> Vectors:
    """Open the vectors of parts (at least one) for an index by cosine or dot product.

    Vectors are scaled when they are to be compared by cosine and are not of unit length as they are stored.
    """
    codec = codec_of(schema_of(layout, parts[0].name))
    return Vectors(
        layout, tuple(parts), codec, similarity == "cosine" and not (normalized and not codec.type.quantised)
    )


def scale_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors [n, dim] at unit length; those of length zero as they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, np.where(lengths == 0, 1, lengths), dtype=np.float32)


def space_of(layout: Layout, part: str) -> str:
    """Return the hash of the space that a part's vectors lie in.

    Raises:
        OutputError: the part is damaged.
    """
    metadata = schema_of(layout, part).metadata or {}
    return str(json.loads(metadata.get(b"embed_corpus.space", b'{"hash": ""}'))["hash"])


def schema_of(layout: Layout, part: str) -> pa.Schema:
    """Read a part's schema.

    Raises:
        OutputError: the part is damaged.
    """
    try:
        return schema_in(layout, layout.data / part)
    except (OSError, pa.ArrowException) as error:
        raise damaged(layout, part, error) from error


def damaged(layout: Layout, part: str, error: Exception) -> OutputError:
    """Return the error of a part that is gone or cannot be read."""
    return OutputError(
        f"{layout.data / part} is gone or damaged ({error}): `embed-corpus verify {layout.root} --repair`, then the "
        "line of the run again."
    )
