"""Equal vectors, told apart by nothing: an index holds each once, and knows the rows that it stands for."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.index.rows import Group, Vectors
from embed_corpus.report.steps import steps
from embed_corpus.store.commit import attempt, replace
from embed_corpus.store.workshop import holds

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from typing import TextIO

    from numpy.typing import NDArray

__all__ = ["Distinct", "is_first", "merged", "merging_bytes", "numbers_of", "numbers_of_rows"]

log = logging.getLogger("embed_corpus")

_MERGE_BYTES = 64
"""Of memory a row, while equal vectors are looked for: a hash, and what sorting hashes takes (50 seen)."""
_BASE = 200 << 20
_MOST_ROWS = (1 << 31) - 1
"""Vectors are numbered by 32 bits meanwhile."""


@dataclass(frozen=True)
class Distinct(Vectors):
    """Vectors without those that an earlier row has, numbered through; `first`, bool[rows], are the rows that stay.

    The rows of a later snapshot come behind: what was numbered keeps its number.
    """

    first: NDArray[np.bool_]

    @cached_property
    def _whole(self) -> dict[tuple[str, int], Group]:
        all_rows = Vectors(self.layout, self.parts, self.codec, self.scaled)
        return {(group.part, group.number): group for group in all_rows.groups}

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Row groups that hold any, as in `Vectors`, counted in vectors.

        Raises:
            OutputError: a part cannot be read.
        """
        groups: list[Group] = []
        n = 0
        for group in self._whole.values():
            if here := int(np.count_nonzero(self.first[group.first : group.first + group.n_rows])):
                groups.append(Group(group.part, group.number, n, here))
                n += here
        return tuple(groups)

    def stored(self, group: Group) -> NDArray[Any]:
        """Read the vectors of a row group that stay, as they are stored, [vectors, width].

        Raises:
            OutputError: the part is damaged.
        """
        whole = self._whole[group.part, group.number]
        vectors: NDArray[Any] = super().stored(whole)[self.first[whole.first : whole.first + whole.n_rows]]
        return vectors

    def of_parts(self, n_parts: int) -> Vectors:
        """See `Vectors`."""
        return Distinct(self.layout, self.parts[:n_parts], self.codec, self.scaled, self.first)


def merging_bytes(n_rows: int) -> int:
    """Return the bytes of memory that looking for equal vectors takes."""
    return _BASE + _MERGE_BYTES * n_rows


def merged(vectors: Vectors, numbers: NDArray[np.int32]) -> Vectors:
    """Return each vector once, by the numbers of `numbers_of_rows`."""
    return Distinct(vectors.layout, vectors.parts, vectors.codec, vectors.scaled, is_first(numbers))


def is_first(numbers: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which rows are the first of their vector."""
    first: NDArray[np.bool_] = np.diff(np.maximum.accumulate(numbers), prepend=-1) > 0
    return first


def numbers_of(blocks: Iterable[NDArray[Any]], n: int) -> NDArray[np.int32]:
    """Number `n` vectors [·, width] by their bytes, int32[n]: equal ones alike, in the order in which they first come.

    Bytes are compared by a hash of 128 bits.
    """
    hashes, done = np.empty((n, 16), np.uint8), 0
    for block in blocks:
        content = np.ascontiguousarray(block).view(np.uint8).reshape(-1).data
        size = block.shape[1] * block.itemsize
        each = [blake2b(content[at : at + size], digest_size=16).digest() for at in range(0, len(content), size)]
        hashes[done : done + len(each)] = np.frombuffer(b"".join(each), np.uint8).reshape(-1, 16)
        done += len(each)
    high, low = hashes.view(np.uint64).T
    order = np.lexsort((low, high))  # equal ones together, in the order of their rows
    begins = np.ones(n, np.bool_)
    for half in (high[order], low[order]):
        begins[1:] &= half[1:] == half[:-1]
    begins[1:] = ~begins[1:]
    first = np.zeros(n, np.bool_)
    first[order[begins]] = True
    numbers = np.empty(n, np.int32)
    numbers[order] = (np.cumsum(first, dtype=np.int32) - 1)[order[begins]][np.cumsum(begins) - 1]
    return numbers


def numbers_of_rows(vectors: Vectors, max_memory: int, stream: TextIO | None) -> NDArray[np.int32] | None:
    """Tell which vector each row has, as `numbers_of`; None if no two have the same, or it does not fit the memory.

    What was found is kept beside the index that is built, until it is there.

    Raises:
        OutputError: a part is damaged, or the file cannot be written.
    """
    n_rows = vectors.n_rows
    needed = merging_bytes(n_rows)
    if needed > max_memory or n_rows > _MOST_ROWS:
        log.warning(
            "equal vectors are not looked for among %s: that takes %.1f GiB of --max-memory. Where a text stands in "
            "the corpus many times, it may hide others in a graph",
            f"{n_rows:,}",
            needed / (1 << 30),
        )
        return None
    file = _file(vectors)
    if holds(file, 4 * n_rows):
        numbers = np.fromfile(file, np.int32)
    else:
        told = steps(vectors.groups, n_rows, lambda group: group.n_rows, "looking for equal vectors", stream)
        numbers = numbers_of((vectors.stored(group) for group in told), n_rows)
        with attempt(file.parent, file.name) as made:
            numbers.tofile(made)
            replace(made, file)
    return numbers if len(numbers) and int(numbers.max()) + 1 < len(numbers) else None


def _file(vectors: Vectors) -> Path:
    parts = json.dumps([[part.name, part.sha256] for part in vectors.parts])
    layout, digest = vectors.layout, hashlib.sha256(parts.encode()).hexdigest()
    return layout.store.local(layout.indexing) / f"rows-{digest[:20]}"
