"""Vectors taken over from parts that are done again: of rows that were rejected, or of a source that changed.

Such a shard is read and chunked as ever, so its rows, counts and order are those of a whole redo. A chunk that stands
in an old part with the same text, place and tokens has its vector there, whatever its document is called now; only the
others are embedded. As a vector does not depend on its batch, the new part is the same bytes as if all had been.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.data import Piece
from embed_corpus.job.earlier import Earlier, Replaced
from embed_corpus.sink.readback import vectors_of
from embed_corpus.vectors.codec import codec_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from embed_corpus.data import Chunked

__all__ = ["Reuse", "completed", "left_over", "texts_left_over"]

log = logging.getLogger("embed_corpus")

_SAME = ("chunk_index", "char_start", "char_end", "n_tokens")
_OPEN = 4
"""Old parts that are kept open: next to each other in the source they serve one shard after the other."""


class Reuse:
    """Gives blocks of shards that are done again the vectors that are there already; blocks come in order.

    Attributes:
        tokens: of chunks whose vectors were taken over.
    """

    def __init__(self, parts: Mapping[str, Sequence[Earlier | Replaced]], numerics: str) -> None:
        """Take `parts` by shard id; none that was made under other numerics, so that a part has one kind of bits."""
        self.tokens = 0
        self._parts, self._numerics = parts, numerics
        self._open: OrderedDict[Earlier | Replaced, _Old | None] = OrderedDict()

    def known(self, block: Chunked) -> Chunked:
        """Return the block with its vectors as far as they are known."""
        if not len(block.chunks):
            return block
        vectors: NDArray[np.float32] | None = None
        for part in self._parts.get(block.shard.id, ()):
            old = self._opened(part)
            if old is None:
                continue
            try:
                found = old.vectors_for(block)
            except (OSError, ValueError, pa.ArrowException) as error:
                self._give_up(part, error)
                continue
            vectors = found if vectors is None else np.where(np.isnan(vectors[:, :1]), found, vectors)
            if not np.isnan(vectors[:, 0]).any():
                break
        if vectors is None or np.isnan(vectors[:, 0]).all():
            return block
        self.tokens += int(block.chunks.n_tokens[~np.isnan(vectors[:, 0])].sum())
        return replace(block, known=vectors)

    def _opened(self, part: Earlier | Replaced) -> _Old | None:
        if part not in self._open:
            while len(self._open) >= _OPEN:
                self._open.popitem(last=False)
            try:
                noted = part.earlier() if isinstance(part, Replaced) else part
                self._open[part] = _Old(noted) if noted.numerics == self._numerics else None
            except (OSError, ValueError, pa.ArrowException) as error:
                self._give_up(part, error)
        self._open.move_to_end(part)
        return self._open[part]

    def _give_up(self, part: Earlier | Replaced, error: Exception) -> None:
        name = part.name if isinstance(part, Replaced) else part.key
        log.warning("%s: its vectors are not taken over (%s)", name, error)
        self._open[part] = None


class _Old:
    """An old part: what tells its chunks apart, in memory, and its vectors, one row group at a time."""

    def __init__(self, part: Earlier) -> None:
        stored = part.layout.store.open(part.key)
        if hashlib.file_digest(stored, "sha256").hexdigest() != part.sha256:
            raise ValueError("its bytes are not those that were committed")
        self._file = pq.ParquetFile(stored, page_checksum_verification=True)
        self._codec = codec_of(self._file.schema_arrow)
        self._cut_words = part.cut_words
        table = self._file.read(["content_hash", *_SAME])
        columns = [table[name].to_numpy() for name in _SAME]
        keys = _keys(_as_bytes(table["content_hash"]), columns)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]
        self._begins = columns[0] == 0
        groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        self._edges = np.cumsum([0, *groups])
        self._group: tuple[int, NDArray[np.float32]] | None = None

    def vectors_for(self, block: Chunked) -> NDArray[np.float32]:
        """Return float32[n, dim], NaN in the rows of chunks that the part does not hold just so."""
        chunks = block.chunks
        vectors = np.full((len(chunks), self._codec.dim), np.nan, np.float32)
        if not len(self._sorted):
            return vectors
        keys = _keys(chunks.content_hash, [chunks.index, chunks.start, chunks.end, chunks.n_tokens])
        places = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        same, at = self._sorted[places] == keys, self._order[places]
        if isinstance(block, Piece) and block.base:  # a later one: how the one before ended is not seen here
            same[0] = False
        if self._cut_words or chunks.cut_words:
            same &= self._whole(block, same, at)
        for number in np.unique(np.searchsorted(self._edges, at[same], "right") - 1).tolist():
            here = same & (at >= self._edges[number]) & (at < self._edges[number + 1])
            vectors[here] = self._read(number)[at[here] - self._edges[number]]
        return vectors

    def _whole(self, block: Chunked, same: NDArray[np.bool_], at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell whose whole document stands in the part: the tokens of half a word depend on the text around it."""
        chunks = block.chunks
        partial = isinstance(block, Piece) and (block.more or block.base)
        if partial or chunks.truncated:  # not all of the document is seen here
            return np.zeros(len(chunks), np.bool_)
        follows = np.concatenate([[False], chunks.doc[1:] == chunks.doc[:-1]])
        ends = np.concatenate([~follows[1:], [True]])
        begins = np.append(self._begins, True)
        good = same & (~follows | (at == np.concatenate([[-1], at[:-1]]) + 1)) & (~ends | begins[at + 1])
        bad_docs = np.unique(chunks.doc[~good])
        return ~np.isin(chunks.doc, bad_docs)

    def _read(self, number: int) -> NDArray[np.float32]:
        if self._group is None or self._group[0] != number:
            read = self._file.read_row_group(number, columns=["embedding"])
            stored = vectors_of(read["embedding"])
            self._group = number, self._codec.decode(stored)
            if not np.array_equal(self._codec.encode(self._group[1]), stored):  # int8 with a range of next to nothing
                raise ValueError("its vectors would not be stored again as they are")
        return self._group[1]


def _keys(hashes: NDArray[np.uint8], columns: list[NDArray[Any]]) -> NDArray[np.void]:
    """Join what tells chunks apart into one value of 48 bytes each."""
    rest = np.stack(columns, axis=1).astype(np.int64).view(np.uint8)
    joined = np.concatenate([hashes, rest], axis=1)
    return joined.view(f"V{joined.shape[1]}").reshape(-1)


def _as_bytes(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    """Return a column of 16 bytes a row as uint8[n, 16]."""
    joined = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    flat = np.frombuffer(joined.buffers()[1] or b"", np.uint8)
    return flat[16 * joined.offset :][: 16 * len(joined)].reshape(-1, 16)


def left_over(block: Chunked) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32] | None]:
    """Return what of a block is to be embedded, as `Packer.add_ids` takes it; with passes, that is all of it."""
    chunks = block.chunks
    if block.known is None:
        return chunks.input_ids, chunks.n_tokens, chunks.passes
    left = np.isnan(block.known[:, 0])
    return chunks.input_ids[np.repeat(left, chunks.n_tokens)], chunks.n_tokens[left], None


def texts_left_over(block: Chunked) -> list[str]:
    """Return the texts of the chunks that are to be embedded, for encoders that do not take token ids."""
    texts = block.texts()
    if block.known is None:
        return texts
    return [texts[i] for i in np.flatnonzero(np.isnan(block.known[:, 0])).tolist()]


def completed(block: Chunked, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return all vectors of a block, float32[n, dim]: those known before, and those of what was left over."""
    if block.known is None:
        return vectors
    block.known[np.isnan(block.known[:, 0])] = vectors
    return block.known
