"""Vectors taken over from parts that are done again because some of their rows were rejected.

Such a shard is read and chunked as ever, so its rows, counts and order are those of a whole redo. A chunk that comes
out as it stands in the old part has its vector there; only the others are embedded. As a vector does not depend on its
batch, the new part is the same bytes as if all had been.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embed_corpus.sink.readback import vectors_of
from embed_corpus.sink.vectors import codec_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from embed_corpus.data import Block

__all__ = ["Earlier", "Reuse", "completed", "left_over"]

log = logging.getLogger("embed_corpus")

_SAME = ("chunk_index", "char_start", "char_end", "n_tokens")


@dataclass(frozen=True, slots=True)
class Earlier:
    """A part that was set aside: where it lies now, and what was noted at its commit."""

    path: Path
    sha256: str
    numerics: str


class Reuse:
    """Gives blocks of shards that are done again the vectors that are there already; blocks come in order.

    Attributes:
        tokens: of chunks whose vectors were taken over.
    """

    def __init__(self, parts: Mapping[str, Earlier], numerics: str) -> None:
        """Take `parts` by shard id; none that was made under other numerics, so that a part has one kind of bits."""
        self.tokens = 0
        self._parts = {shard: part for shard, part in parts.items() if part.numerics == numerics}
        self._open: tuple[str, _Old | None] = "", None

    def known(self, block: Block) -> Block:
        """Return the block with its vectors as far as they are known."""
        if block.chunks is None or block.rows is None or block.shard.id not in self._parts:
            return block
        try:
            if self._open[0] != block.shard.id:
                self._open = block.shard.id, _Old(self._parts[block.shard.id])
            old = self._open[1]
            if old is None:
                return block
            vectors = old.vectors_for(block)
        except (OSError, ValueError, pa.ArrowException) as error:
            log.warning("%s: its vectors are not taken over (%s)", self._parts[block.shard.id].path, error)
            self._open = block.shard.id, None
            return block
        self.tokens += int(block.chunks.n_tokens[~np.isnan(vectors[:, 0])].sum())
        return replace(block, known=vectors)


class _Old:
    """An old part: what tells its chunks apart, in memory, and its vectors, one row group at a time."""

    def __init__(self, part: Earlier) -> None:
        with part.path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != part.sha256:
                raise ValueError("its bytes are not those that were committed")
        self._file = pq.ParquetFile(part.path, page_checksum_verification=True)
        self._codec = codec_of(self._file.schema_arrow)
        table = self._file.read(["doc_id", "content_hash", *_SAME])
        self._columns = {name: table[name].to_numpy() for name in _SAME}
        self._hashes = _as_bytes(table["content_hash"])
        self._firsts = np.flatnonzero(self._columns["chunk_index"] == 0)
        self._ids = table["doc_id"].combine_chunks().take(pa.array(self._firsts))
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._edges = np.cumsum([0, *groups])
        self._group: tuple[int, NDArray[np.float32]] | None = None

    def vectors_for(self, block: Block) -> NDArray[np.float32]:
        """Return float32[n, dim], NaN in the rows of chunks that the part does not hold just so."""
        rows, chunks = block.rows, block.chunks
        assert rows is not None
        assert chunks is not None
        vectors = np.full((len(chunks), self._codec.dim), np.nan, np.float32)
        document = pc.fill_null(pc.index_in(rows.table["doc_id"], self._ids), -1).to_numpy()[chunks.doc]
        if not len(self._firsts):
            return vectors
        at = self._firsts[document] + chunks.index  # document -1 is none, and is looked at no further
        same = (document >= 0) & (at < len(self._hashes))
        at = np.where(same, at, 0)
        ours = (chunks.index, chunks.start, chunks.end, chunks.n_tokens)
        for name, values in zip(_SAME, ours, strict=True):
            same &= self._columns[name][at] == values
        same &= (self._hashes[at] == chunks.content_hash).all(axis=1)
        for number in np.unique(np.searchsorted(self._edges, at[same], "right") - 1).tolist():
            here = same & (at >= self._edges[number]) & (at < self._edges[number + 1])
            vectors[here] = self._read(number)[at[here] - self._edges[number]]
        return vectors

    def _read(self, number: int) -> NDArray[np.float32]:
        if self._group is None or self._group[0] != number:
            read = self._file.read_row_group(number, columns=["embedding"])
            stored = vectors_of(read["embedding"])
            self._group = number, self._codec.decode(stored)
            if not np.array_equal(self._codec.encode(self._group[1]), stored):  # int8 with a range of next to nothing
                raise ValueError("its vectors would not be stored again as they are")
        return self._group[1]


def _as_bytes(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return a column of 16 bytes a row as uint8[n, 16]."""
    joined = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    flat = np.frombuffer(joined.buffers()[1] or b"", np.uint8)
    return flat[16 * joined.offset :][: 16 * len(joined)].reshape(-1, 16)


def left_over(block: Block) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32] | None]:
    """Return what of a block is to be embedded, as `Packer.add_ids` takes it; with passes, that is all of it."""
    chunks = block.chunks
    if chunks is None:
        return np.empty(0, np.int32), np.empty(0, np.int32), None
    if block.known is None:
        return chunks.input_ids, chunks.n_tokens, chunks.passes
    left = np.isnan(block.known[:, 0])
    return chunks.input_ids[np.repeat(left, chunks.n_tokens)], chunks.n_tokens[left], None


def completed(block: Block, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all vectors of a block, float32[n, dim]: those known before, and those of what was left over."""
    if block.known is None:
        return vectors
    block.known[np.isnan(block.known[:, 0])] = vectors
    return block.known
