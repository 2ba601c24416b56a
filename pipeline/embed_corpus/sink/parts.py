"""A part: the Parquet file of one finished shard, checked before anyone can see it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.data import Counts, Piece, Reject
from embed_corpus.errors import OutputError
from embed_corpus.sink.documents import publish_documents
from embed_corpus.sink.readback import check_part, check_vectors, part_stats, stats_of
from embed_corpus.sink.rejects import beginning_of, publish_rejects, without_vector
from embed_corpus.store.notes import replace_json
from embed_corpus.vectors.codec import Codec

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from embed_corpus.data import Chunked, Shard
    from embed_corpus.store.layout import Layout
    from embed_corpus.vectors.ranges import Ranges

__all__ = ["RESERVED", "SCHEMA_VERSION", "PartFormat", "PartWriter", "open_writer"]

SCHEMA_VERSION = 1
"""Part of the job hash: parts laid out differently never mix."""
_PLAIN = {
    "doc_id": pa.string(),
    "chunk_index": pa.int32(),
    "char_start": pa.int64(),
    "char_end": pa.int64(),
    "n_tokens": pa.int32(),
    "content_hash": pa.binary(16),
}
RESERVED = (*_PLAIN, "embedding", "text")
"""Column names of a part; no kept column may take one."""


@dataclass(frozen=True)
class PartFormat:
    """What every part of a job looks like.

    Attributes:
        dim: dimension of a vector.
        vector_type: one of `VECTOR_TYPES`.
        keep_types: kept columns and their types.
        keep_text: whether the chunk's text is a column `text`.
        facts: hashes and model facts, put into the schema metadata as JSON.
        normalized: vectors have unit length, which is checked before the commit.
        reject_bytes: bytes of a rejected text that are put on record with it.
        documents: a vector for each document is published beside every part.
        group_bytes: bytes of vectors in one row group; it decides on a part's bytes, so it is the same for all users.
        ranges: of a type that needs them; None until they are settled, which they are before the first vector.
    """

    dim: int
    vector_type: str
    keep_types: dict[str, pa.DataType]
    keep_text: bool
    facts: dict[str, Any]
    normalized: bool
    reject_bytes: int = 0
    documents: bool = False
    group_bytes: int = 16 << 20
    ranges: Ranges | None = None

    @cached_property
    def codec(self) -> Codec:
        """How vectors are stored."""
        return Codec(self.vector_type, self.dim, self.ranges)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of a part; `embedding` is a fixed_size_list."""
        columns = dict(_PLAIN)
        if self.keep_text:
            columns["text"] = pa.string()
        columns |= self.keep_types
        columns["embedding"] = self.codec.arrow_type
        metadata = {f"embed_corpus.{name}": json.dumps(value) for name, value in self.facts.items()}
        return pa.schema(list(columns.items()), metadata=metadata | self.codec.metadata())

    def table(self, block: Chunked, vectors: NDArray[Any]) -> pa.Table:
        """Lay a block's chunks and their stored vectors out as rows of a part, without copying a vector."""
        rows, chunks = block.rows, block.chunks
        columns: dict[str, Any] = {
            "doc_id": rows.table["doc_id"].take(pa.array(chunks.doc)),
            "chunk_index": chunks.index,
            "char_start": chunks.start,
            "char_end": chunks.end,
            "n_tokens": chunks.n_tokens,
            "content_hash": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(16), len(chunks), [None, pa.py_buffer(np.ascontiguousarray(chunks.content_hash))]
            ),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), self.codec.width),
        }
        if self.keep_text:
            columns["text"] = block.texts()
        for name in self.keep_types:
            columns[name] = rows.table[name].take(pa.array(chunks.doc))
        return pa.table([pa.array(columns[f.name], f.type) for f in self.schema], schema=self.schema)


def open_writer(target: Path | pa.NativeFile, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file for rows of a part."""
    vector = "embedding.list.element"
    others = [name for name in schema.names if name != "embedding"]
    # Vectors do not compress; dictionary and statistics on them only cost time (3x, measured).
    return pq.ParquetWriter(
        target,
        schema,
        compression=dict.fromkeys(others, "zstd") | {vector: "none"},
        use_dictionary=others,
        write_statistics=others,
        write_page_checksum=True,
    )


@dataclass
class _Huge:
    """A document that comes in pieces: how it begins, what was counted of it, and why it is lost, if it is."""

    beginning: bytes
    counts: Counts = field(default_factory=Counts)
    lost: list[Reject] = field(default_factory=list)


class PartWriter:
    """Writes one shard's part aside; `commit` checks and publishes it, `close` drops it.

    `numerics` is the hash of what can change a vector's bits; it is noted beside the part.
    Never used as a context manager around the Parquet writer itself: on an exception that
    would leave a valid, short file.
    """

    def __init__(self, shard: Shard, form: PartFormat, layout: Layout, numerics: str) -> None:
        self.shard = shard
        self._form = form
        self._layout = layout
        self._numerics = numerics
        self._stack = contextlib.ExitStack()
        try:
            self._open()
        except BaseException:
            self.close()  # nobody else will
            raise
        self._group_rows = max(1, form.group_bytes // form.codec.n_bytes)
        self._waiting: list[pa.Table] = []
        self._huge: _Huge | None = None
        self._rejects: list[Reject] = []
        self.counts = Counts()

    def _open(self) -> None:
        """Begin a file, aside."""
        self._made = self._stack.enter_context(self._layout.attempt(self.shard.id))
        schema = self._form.schema
        facts = {b"embed_corpus.shard": json.dumps(self.shard.id).encode()}
        self._writer = open_writer(self._made, schema.with_metadata((schema.metadata or {}) | facts))
        self._n_written = 0

    def append(self, block: Chunked, vectors: NDArray[np.float32]) -> Counts:
        """Take a block's vectors, in order, and return what they add to the counts."""
        chunks = block.chunks
        codec = self._form.codec
        if codec.type.quantised:  # what is stored no longer tells
            finite = _finite(vectors)
            unit = self._form.normalized and block.known is None  # vectors that are taken over were codes
            check_vectors(vectors[finite], normalized=unit, where=self.shard.source)
            vectors = vectors if finite.all() else np.where(finite[:, None], vectors, np.float32(0))
        stored = codec.encode(vectors)
        finite = finite if codec.type.quantised else _finite(stored)
        bad_docs, rejects = without_vector(block, finite)
        table = self._form.table(block, stored)
        keep = ~np.isin(chunks.doc, bad_docs)
        if not keep.all():
            table = table.filter(pa.array(keep))
        tokens = int(chunks.n_tokens[keep].sum())
        unknown = chunks.doc[keep & chunks.unknown] if chunks.unknown is not None else chunks.doc[:0]
        example = block.rows.table["doc_id"][int(unknown[0])].as_py() if len(unknown) else ""
        added = Counts(0, 0, len(table), tokens, chunks.truncated, chunks.cut_words, {}, len(unknown), example)
        if isinstance(block, Piece):
            table, added, rejects = self._piece(block, table, added, rejects)
        if self._huge is None:  # else the document goes on
            rejects = [*block.rows.rejects, *rejects]
            reasons = [r.reason for r in rejects]
            added += Counts(
                rows=len(block.rows.rows) + len(block.rows.rejects),
                documents=len(block.rows.rows) + len(block.rows.rejects) - len(rejects),
                rejects={reason: reasons.count(reason) for reason in sorted(set(reasons))},
            )
            self._rejects += rejects
        self.counts += added
        self._waiting.append(table)
        self._write_groups(self._group_rows)
        return added

    def _piece(
        self, piece: Piece, table: pa.Table, added: Counts, rejects: list[Reject]
    ) -> tuple[pa.Table, Counts, list[Reject]]:
        """Fit some chunks of a huge document in; once one of them has no vector, those before it are taken out again.

        Returns:
            The rows to write, what they add to the counts, and why the document is rejected, if it is.
        """
        huge = self._huge or _Huge(beginning_of(piece, 0))
        if huge.lost:
            table, added = table[:0], replace(added, chunks=0, tokens=0)
        elif rejects:
            huge.lost = [replace(rejects[0], value=huge.beginning)]
            self._take_back(huge.counts.chunks)
            added += Counts(chunks=-huge.counts.chunks, tokens=-huge.counts.tokens)
        huge.counts += added
        self._huge = huge if piece.more else None
        return table, added, huge.lost

    def _take_back(self, n: int) -> None:
        """Take the last n rows out again, from the file, too: the groups before them are written anew."""
        n_waiting = sum(map(len, self._waiting))
        left = max(self._n_written + n_waiting - n, 0)
        waiting = pa.concat_tables([self._form.schema.empty_table(), *self._waiting])
        self._waiting = [waiting[: max(n_waiting - n, 0)]]
        if left >= self._n_written:
            return
        self._writer.close()
        with self._stack, pq.ParquetFile(self._made) as old:  # the old attempt goes once its rows are out
            self._stack = contextlib.ExitStack()
            self._open()
            for number in range(-(-left // self._group_rows)):
                group = old.read_row_group(number).cast(self._form.schema)
                self._waiting.append(group[: left - number * self._group_rows])
                self._write_groups(self._group_rows)

    def _write_groups(self, at_least: int) -> None:
        """Write full row groups; how rows fall into groups depends on the shard alone."""
        while sum(map(len, self._waiting)) >= max(at_least, 1):
            table = pa.concat_tables(self._waiting)
            group = table[: self._group_rows].combine_chunks()
            self._writer.write_table(group)
            self._n_written += len(group)
            self._waiting = [table[self._group_rows :]] if len(table) > self._group_rows else []

    def commit(self, content: str = "") -> dict[str, Any]:
        """Check the part, publish rejects, statistics and part, and return the statistics of the part that is there.

        `content` is a digest of the bytes it was read from, which the part tells from now on.

        Raises:
            OutputError: what was written does not read back as it should, or cannot be written.
            StoreError: the file system cannot publish.
        """
        with self._stack:
            if self.counts.rows != self.shard.n_rows:
                raise OutputError(f"{self.shard.source}: {self.counts.rows} of {self.shard.n_rows} rows came out")
            self._write_groups(1)
            told = {"embed_corpus.counts": json.dumps(self.counts.in_part())}
            self._writer.add_key_value_metadata(told | ({"embed_corpus.content": content} if content else {}))
            self._writer.close()
            check_part(self._made, self._form.dim, self.counts.chunks, normalized=self._form.normalized)
            store, final = self._layout.store, self._layout.data / self.shard.part_name
            shown, committed = self._form.reject_bytes, store.stat(final) is not None
            rejects = sorted(self._rejects, key=lambda r: r.row)  # blocks end elsewhere with other loaders
            publish_rejects(self._layout, self.shard.id, rejects, shown, committed=committed)
            with self._made.open("rb") as made:
                stats = stats_of(made, self.counts, content) | {"numerics": self._numerics}
            if content:
                stats["source_mtime_ns"] = self.shard.mtime_ns
            note = self._layout.stats / f"{self.shard.id}.json"
            replace_json(self._layout, note, stats)
            if store.put_if_absent(self._made, final) == "lost":
                store.delete(note)
                stats = part_stats(self._layout, final.name)
            if self._form.documents:  # if this ends here, the run that finds them missing makes them
                publish_documents(self._layout, final.name)
            return stats

    def close(self) -> None:
        """Drop the attempt."""
        self._stack.close()


def _finite(vectors: NDArray[Any]) -> NDArray[np.bool_]:
    finite: NDArray[np.bool_] = np.isfinite(vectors).all(axis=1)
    return finite
