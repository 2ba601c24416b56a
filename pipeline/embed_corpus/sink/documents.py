"""One vector a document, made of its chunks': a file beside each part, which can be made again from the part."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.errors import OutputError
from embed_corpus.sink.readback import open_part, schema_in, vectors_of
from embed_corpus.vectors.codec import codec_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embed_corpus.store.layout import Layout
    from embed_corpus.vectors.codec import Codec

__all__ = ["check_documents", "document_tables", "publish_documents"]

_COLUMNS = ["doc_id", "chunk_index", "n_tokens", "embedding"]
_CHUNKS = 8192
"""Chunks read at a time; part of the result's bits, as sums are added up in pieces."""
_OURS = (b"embed_corpus.space", b"embed_corpus.job", b"embed_corpus.shard", b"embed_corpus.ranges")


def publish_documents(layout: Layout, part: str) -> None:
    """Publish the vectors of a part's documents under the part's name, unless they are there.

    Raises:
        OutputError: the part is damaged, or the file cannot be written.
    """
    final = layout.documents / part
    if layout.store.stat(final):
        return
    with layout.attempt(f"documents-{part}") as made:
        try:
            schema = _schema(schema_in(layout, layout.data / part))
            with pq.ParquetWriter(made, schema, compression="zstd", write_page_checksum=True) as writer:
                for table in document_tables(layout, part):
                    writer.write_table(table)
        except pa.ArrowException as error:
            raise OutputError(f"{layout.data / part} does not read back: {error}") from error
        layout.store.put_if_absent(made, final)


def document_tables(layout: Layout, part: str) -> Iterator[pa.Table]:
    """Yield the rows that a part's documents have, some at a time, in the part's order.

    `embedding` is the mean of the document's chunk vectors, each weighted by its tokens, of unit length where
    those are; stored as those are.
    """
    with open_part(layout, layout.data / part) as file:
        yield from _tables(file)


def check_documents(layout: Layout, part: str) -> int:
    """Check that the vectors of a part's documents are what the part makes them; returns how many there are.

    Raises:
        OutputError: they are missing or differ.
    """
    file = layout.documents / part
    empty = _schema(schema_in(layout, layout.data / part)).empty_table()
    expected = pa.concat_tables([empty, *document_tables(layout, part)])
    try:
        with open_part(layout, file) as documents:
            found = documents.read()
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{file} is missing or damaged ({error}). {_REMEDY}") from error
    if not found.equals(expected):
        raise OutputError(f"{file} does not hold the documents of its part. {_REMEDY}")
    return len(found)


_REMEDY = "Delete it and run the same line again: it is made from the part."


def _schema(part: pa.Schema) -> pa.Schema:
    columns = {"doc_id": pa.string(), "n_chunks": pa.int32(), "n_tokens": pa.int64()}
    metadata = {key: value for key, value in (part.metadata or {}).items() if key in _OURS}
    return pa.schema([*columns.items(), part.field("embedding")], metadata=metadata)


def _tables(file: pq.ParquetFile) -> Iterator[pa.Table]:
    schema, codec = _schema(file.schema_arrow), codec_of(file.schema_arrow)
    unit = json.loads(schema.metadata[b"embed_corpus.space"]).get("normalize", True)
    held = _Sums(codec, pa.array([], pa.string()), np.empty((0, codec.dim)), np.empty((0, 2), np.int64))
    for batch in file.iter_batches(_CHUNKS, columns=_COLUMNS):
        done, held = held.joined(batch).split()
        if len(done.ids):
            yield done.table(schema, unit=unit)
    if len(held.ids):
        yield held.table(schema, unit=unit)


class _Sums:
    """Sums over the chunks of consecutive documents: of vectors times tokens, float64[n, dim]; of chunks and tokens."""

    def __init__(self, codec: Codec, ids: pa.Array, vectors: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        self.codec, self.ids, self.vectors, self.counts = codec, ids, vectors, counts

    def joined(self, batch: pa.RecordBatch) -> _Sums:
        """Add the next chunks; those before the first that begins a document belong to the last one here."""
        tokens = batch["n_tokens"].to_numpy().astype(np.int64)
        first = np.flatnonzero(batch["chunk_index"].to_numpy() == 0)
        vectors = self.codec.decode(vectors_of(batch["embedding"])).astype(np.float64) * tokens[:, None]
        counts = np.stack([np.ones_like(tokens), tokens], axis=1)
        ahead = int(first[0]) if len(first) else len(batch)
        if ahead:
            self.vectors[-1] += vectors[:ahead].sum(axis=0)
            self.counts[-1] += counts[:ahead].sum(axis=0)
        if not len(first):
            return self
        return _Sums(
            self.codec,
            pa.concat_arrays([self.ids, batch["doc_id"].take(pa.array(first))]),
            np.concatenate([self.vectors, np.add.reduceat(vectors, first)]),
            np.concatenate([self.counts, np.add.reduceat(counts, first)]),
        )

    def split(self) -> tuple[_Sums, _Sums]:
        """Part the documents that are complete from the last one, which may go on."""
        cut = len(self.ids) - 1
        return (
            _Sums(self.codec, self.ids[:cut], self.vectors[:cut], self.counts[:cut]),
            _Sums(self.codec, self.ids[cut:], self.vectors[cut:].copy(), self.counts[cut:].copy()),
        )

    def table(self, schema: pa.Schema, *, unit: bool) -> pa.Table:
        """Return the documents as rows."""
        # Chunks that cancel each other out have no direction: their vector stays zero.
        lengths = np.linalg.norm(self.vectors, axis=1) if unit else self.counts[:, 1]
        means = (self.vectors / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
        stored = self.codec.encode(means)
        column = pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), self.codec.width)
        counts = [pa.array(self.counts[:, 0], pa.int32()), pa.array(self.counts[:, 1])]
        arrays = [self.ids, *counts, column.cast(schema.field("embedding").type)]
        return pa.table(arrays, schema=schema)
