"""Inverted lists built in bounded memory: runs of coded vectors, sorted by list, merged into lists.

A run is a file of 65,536 rows, or fewer: their lists (int32), row numbers (int64) and codes, in this order of
columns, sorted by list and within it by row. What is coded depends on the vectors and the trained
index alone, so that a run made after a kill is the run that would have been made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from embed_corpus.store.commit import attempt, replace
from embed_corpus.store.workshop import holds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from embed_corpus.index.rows import Vectors

__all__ = ["RUN_ROWS", "OldLists", "Run", "Source", "code_run", "into_file", "into_memory"]

RUN_ROWS = 65_536
"""Rows of a run, at most: as many as `max_memory` holds the codes of."""
_WRITTEN_ROWS = 4096
_Slice = tuple["NDArray[np.int32]", "NDArray[np.int64]", "NDArray[np.uint8]"]


class Source(Protocol):
    """Something whose rows are sorted by list."""

    def sizes(self, n_lists: int) -> NDArray[np.int64]:
        """Rows of each list, int64[n_lists]."""

    def slice(self, begin: int, end: int) -> _Slice:
        """Lists, row numbers and codes of the lists from `begin` to `end`."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's file, its rows, and bytes of a code."""

    file: Path
    n_rows: int
    code_size: int

    @property
    def is_there(self) -> bool:
        """Whether it was made: its name stands for whole content, the size is checked all the same."""
        return holds(self.file, self.n_rows * (12 + self.code_size))

    def _lists(self) -> NDArray[np.int32]:
        return np.fromfile(self.file, np.int32, self.n_rows)

    def sizes(self, n_lists: int) -> NDArray[np.int64]:
        """See `Source`."""
        return np.bincount(self._lists(), minlength=n_lists)

    def slice(self, begin: int, end: int) -> _Slice:
        """See `Source`."""
        lists = self._lists()
        a, b = (int(i) for i in np.searchsorted(lists, [begin, end]))
        rows = np.fromfile(self.file, np.int64, b - a, offset=4 * self.n_rows + 8 * a)
        at = 12 * self.n_rows + self.code_size * a
        codes = np.fromfile(self.file, np.uint8, (b - a) * self.code_size, offset=at)
        return lists[a:b], rows, codes.reshape(b - a, self.code_size)


@dataclass(frozen=True, slots=True)
class OldLists:
    """The lists of an index that is extended, until the merged ones take their place."""

    ivf: Any

    def sizes(self, n_lists: int) -> NDArray[np.int64]:
        """See `Source`."""
        return np.array([self.ivf.invlists.list_size(i) for i in range(n_lists)], np.int64)

    def slice(self, begin: int, end: int) -> _Slice:
        """See `Source`."""
        import faiss

        inverted, size = self.ivf.invlists, int(self.ivf.code_size)
        numbers, rows, codes = [], [], []
        for i in range(begin, end):
            n = inverted.list_size(i)
            numbers.append(np.full(n, i, np.int32))
            if n:
                rows.append(faiss.rev_swig_ptr(inverted.get_ids(i), n).copy())
                codes.append(faiss.rev_swig_ptr(inverted.get_codes(i), n * size).reshape(n, size).copy())
        none = (np.empty(0, np.int64), np.empty((0, size), np.uint8))
        return np.concatenate(numbers), np.concatenate([none[0], *rows]), np.concatenate([none[1], *codes])


def code_run(index: Any, ivf: Any, quantizer: Any, vectors: Vectors, begin: int, run: Run) -> None:
    """Code a run's rows, from row `begin` on, and put its file in place.

    `ivf` are the inverted lists of the trained `index`; `quantizer` finds lists, on a GPU or not.

    Raises:
        OutputError: a part is damaged, or the file cannot be written.
    """
    import faiss

    numbers, codes = np.empty(run.n_rows, np.int32), np.empty((run.n_rows, run.code_size), np.uint8)
    for first, block in vectors.blocks(begin, begin + run.n_rows):
        block = _transformed(index, block) if index is not ivf else block  # noqa: PLW2901
        found = np.ascontiguousarray(quantizer.search(block, 1)[1].ravel())
        here = slice(first - begin, first - begin + len(block))
        numbers[here] = found
        ivf.encode_vectors(len(block), *(faiss.swig_ptr(a) for a in (block, found, codes[here])), False)
    order = np.argsort(numbers, kind="stable")
    with attempt(run.file.parent, run.file.name) as made:
        with made.open("wb") as file:
            for column in (numbers[order], order.astype(np.int64) + begin):
                column.tofile(file)
            for at in range(0, run.n_rows, _WRITTEN_ROWS):  # the codes are held once
                codes[order[at : at + _WRITTEN_ROWS]].tofile(file)
        replace(made, run.file)


def _transformed(index: Any, block: NDArray[np.float32]) -> NDArray[np.float32]:
    import faiss

    for i in range(index.chain.size()):
        block = faiss.downcast_VectorTransform(index.chain.at(i)).apply(block)
    return block


def _merged(
    sources: Sequence[Source], sizes: NDArray[np.int64], code_size: int, budget: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield (list, row numbers, codes) of all lists that hold any, reading about `budget` bytes at a time."""
    ends = np.cumsum(sizes * (code_size + 12))
    begin = 0
    while begin < len(sizes):
        before = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, before + budget, side="right")))
        slices = [source.slice(begin, end) for source in sources]
        numbers, rows, codes = (np.concatenate(column) for column in zip(*slices, strict=True))
        del slices
        order = np.argsort(numbers, kind="stable")
        edges = np.searchsorted(numbers[order], np.arange(begin, end + 1))
        rows, codes = rows[order], codes[order]
        for i in np.flatnonzero(np.diff(edges)).tolist():
            yield begin + i, rows[edges[i] : edges[i + 1]], codes[edges[i] : edges[i + 1]]
        begin = end


def into_memory(ivf: Any, sources: Sequence[Source], budget: int) -> int:
    """Give a trained index the merged lists, in memory, in place of its own; returns how many rows they hold."""
    import faiss

    sizes = np.sum([source.sizes(ivf.nlist) for source in sources], axis=0)
    inverted = faiss.ArrayInvertedLists(ivf.nlist, ivf.code_size)
    for number, rows, codes in _merged(sources, sizes, ivf.code_size, budget):
        inverted.add_entries(number, len(rows), faiss.swig_ptr(rows), faiss.swig_ptr(codes))
    return _set(ivf, inverted, int(sizes.sum()))


def into_file(ivf: Any, sources: Sequence[Source], budget: int, file: Path) -> int:
    """Write the merged lists into a file of FAISS' OnDiskInvertedLists, by plain writes: a mapped file would be held
    in memory as long as there is any. Gives them to the index; returns how many rows they hold.
    """  # noqa: D205
    import faiss

    sizes = np.sum([source.sizes(ivf.nlist) for source in sources], axis=0)
    with file.open("wb", buffering=1 << 20) as stream:
        for _, rows, codes in _merged(sources, sizes, ivf.code_size, budget):
            stream.write(codes.data)
            stream.write(rows.data)
    inverted = faiss.OnDiskInvertedLists()
    inverted.nlist, inverted.code_size = ivf.nlist, ivf.code_size
    inverted.filename, inverted.read_only, inverted.prefetch_nthread = str(file), True, 0
    each, at = faiss.OnDiskOneList(), 0
    for size in sizes.tolist():
        each.size = each.capacity = size
        each.offset = at
        inverted.lists.push_back(each)
        at += size * (ivf.code_size + 8)
    inverted.totsize = at
    inverted.do_mmap()
    return _set(ivf, inverted, int(sizes.sum()))


def _set(ivf: Any, inverted: Any, n_rows: int) -> int:
    ivf.replace_invlists(inverted, True)
    inverted.this.disown()
    ivf.ntotal = n_rows
    return n_rows
