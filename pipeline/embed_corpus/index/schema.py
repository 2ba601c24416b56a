"""The record of an index, as index.json holds it: what it is of, how it was made, how good it was found to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from embed_corpus.data.records import as_json, from_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from embed_corpus.sink.snapshot import PartEntry

__all__ = ["IndexRecord", "IndexedFile", "IndexedPart", "in_order"]


@dataclass(frozen=True, slots=True)
class IndexedPart:
    """A part of which the vectors are in an index: its file name, its checksum, and its first row there."""

    name: str
    sha256: str
    first_row: int


def in_order(parts: Iterable[PartEntry]) -> tuple[IndexedPart, ...]:
    """Return parts as an index has them whose rows are theirs, one part after the other."""
    found, first = [], 0
    for part in parts:
        found.append(IndexedPart(part.name, part.sha256, first))
        first += part.counts.chunks
    return tuple(found)


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file of an index: its size and checksum."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class IndexRecord:
    """What is recorded of an index.

    Attributes:
        type: FAISS factory string.
        family: kind of index that `choose` picked.
        asked, target_recall: the request's.
        metric: how vectors are compared.
        vector_type, dim: as in the parts.
        rows: chunks.
        vectors: vectors that it holds, where equal ones are held once.
        effort: its search parameter, tuned.
        recall: share of the nearest found, by how many are asked for ("1", "10", "100").
        queries_measured: questions that were asked.
        queries_per_second: by how they were asked.
        bytes_in_memory: what it takes when searched.
        build: seconds, and peak bytes of the process.
        n_train: vectors that it was trained on.
        trained_for, trained_parts: vectors and parts there were then.
        snapshot: number of the snapshot that it is of.
        space: hash of the vectors' space.
        parts: in the order of its rows.
        missed: recall@10 of types that were tried before it; None where the first one reached what was asked.
        files: what it lies in, by name; none until it is settled.
        sha256: of all this but itself; empty until it is settled.
        others: what another version of this package records.
    """

    type: str
    family: str
    asked: str
    target_recall: float | None
    metric: str
    vector_type: str
    dim: int
    rows: int
    vectors: int | None = None
    effort: dict[str, int]
    recall: dict[str, float]
    queries_measured: int
    queries_per_second: dict[str, int]
    bytes_in_memory: int
    build: dict[str, float]
    n_train: int
    trained_for: int
    trained_parts: int
    snapshot: int
    space: str
    parts: tuple[IndexedPart, ...]
    missed: dict[str, float] | None = None
    files: dict[str, IndexedFile]
    sha256: str
    others: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> IndexRecord:
        """Return the record that was written so, perhaps by a version that told less.

        Raises:
            KeyError, TypeError, ValueError: it was not.
        """
        parts = tuple(from_json(IndexedPart, part) for part in content["parts"])
        files = {name: from_json(IndexedFile, file) for name, file in dict(content["files"]).items()}
        return from_json(cls, _NOT_YET | dict(content), parts=parts, files=files)

    def to_json(self) -> dict[str, Any]:
        """Return the content of index.json."""
        return as_json(self)

    @property
    def n_vectors(self) -> int:
        """Vectors that it holds: fewer than rows, where equal ones are."""
        return self.rows if self.vectors is None else self.vectors

    @property
    def checksums(self) -> dict[str, str]:
        """The sha256 of each part, by name, in the order of the rows."""
        return {part.name: part.sha256 for part in self.parts}


_NOT_YET: dict[str, Any] = {
    "family": "",
    "asked": "",
    "target_recall": None,
    "vector_type": "",
    "recall": {},
    "queries_measured": 0,
    "queries_per_second": {},
    "bytes_in_memory": 0,
    "build": {},
    "n_train": 0,
    "trained_for": 0,
    "trained_parts": 0,
}
"""What is taken for recorded where an older version did not record it: such an index is searched, but not extended."""
