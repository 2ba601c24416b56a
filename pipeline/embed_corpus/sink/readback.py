"""Parts read back: their vectors, their counts, and whether they are sound."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.data import Counts
from embed_corpus.errors import OutputError
from embed_corpus.store.notes import read_json, replace_json
from embed_corpus.vectors.codec import codec_of

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from embed_corpus.store.base import Key
    from embed_corpus.store.layout import Layout

__all__ = [
    "cached_stats",
    "check_part",
    "check_vectors",
    "note_file",
    "open_part",
    "part_stats",
    "schema_in",
    "shard_id_of",
    "stats_of",
    "vectors_of",
]


@contextmanager
def open_part(layout: Layout, key: Key, *, checked: bool = True) -> Iterator[pq.ParquetFile]:
    """Open a part, or another Parquet file of OUT; `checked`: what is read of it is held against page checksums.

    Raises:
        OSError, pa.ArrowException: it is gone or damaged.
    """
    with layout.store.open(key) as stored, pq.ParquetFile(stored, page_checksum_verification=checked) as file:
        yield file


def schema_in(layout: Layout, key: Key) -> pa.Schema:
    """Read the schema of a part.

    Raises:
        OSError, pa.ArrowException: it is gone or damaged.
    """
    with open_part(layout, key) as file:
        return file.schema_arrow


def vectors_of(column: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    """Return an embedding column as an array [rows, dim] of its own type."""
    arrays = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    dim = column.type.list_size
    dtype = column.type.value_type.to_pandas_dtype()
    flat = [a.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim) for a in arrays]
    return np.concatenate(flat) if flat else np.empty((0, dim), dtype)


def check_part(
    file: Path | pa.NativeFile, dim: int, n_rows: int, *, normalized: bool, called: Key | None = None
) -> None:
    """Read a part back: page checksums, rows, dimension, and every vector finite (and of unit length).

    It is read from a file of this machine, or from a stream that is open; a message names it as it is `called`.

    Vectors of int8 and ubinary are finite as they are, and of whatever length; just their number is checked.

    Raises:
        OutputError: naming the part and what is wrong.
    """
    part = called or file
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            rows = opened.metadata.num_rows
            codec = codec_of(opened.schema_arrow)
            if (rows, codec.dim) != (n_rows, dim):
                raise OutputError(f"{part}: {rows} rows of dimension {codec.dim} read back, not {n_rows} of {dim}")
            for batch in opened.iter_batches(4096, columns=["embedding"]):
                vectors = vectors_of(batch["embedding"])
                if vectors.shape != (len(batch), codec.width):
                    raise OutputError(f"{part}: rows without a vector")
                if not codec.type.quantised:
                    check_vectors(vectors, normalized=normalized, where=str(part))
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{part} does not read back: {error}") from error


def check_vectors(vectors: NDArray[Any], *, normalized: bool, where: str) -> None:
    """Check that vectors [n, dim] are finite and, if `normalized`, of unit length within 0.002.

    Raises:
        OutputError: naming `where` and the first row at fault.
    """
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
    wrong = ~np.isfinite(lengths)
    if normalized:
        wrong |= np.abs(lengths - 1) > 2e-3  # float16 rounds each of up to 4,096 numbers to 11 bits
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise OutputError(
            f"{where}: {int(wrong.sum())} vectors are not finite or not of unit length, first in row {row}"
        )


def stats_of(part: io.BufferedReader | pa.NativeFile, counts: Counts, content: str = "") -> dict[str, Any]:
    """Return what is noted about a part beside it: its counts, bytes, sha256 and a digest of what it was read from."""
    digest = hashlib.file_digest(part, "sha256").hexdigest()
    stats = {"counts": asdict(counts), "bytes": part.tell(), "sha256": digest}
    return stats | ({"content": content} if content else {})


def cached_stats(layout: Layout, name: str) -> dict[str, Any] | None:
    """Return what was noted about a part when it was committed, None if the note is gone or damaged."""
    try:
        stats: dict[str, Any] = read_json(layout, note_file(layout, name))
        Counts(**stats["counts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return stats if {"bytes", "sha256"} <= stats.keys() else None


def part_stats(layout: Layout, name: str) -> dict[str, Any]:
    """Return a part's counts, bytes and sha256: from the note, else from the part itself.

    Raises:
        OutputError: the part is damaged.
    """
    stats = cached_stats(layout, name)
    if stats is None:
        part = layout.data / name
        try:
            with open_part(layout, part) as file:
                metadata = file.metadata.metadata or {}
                for _ in file.iter_batches(4096):  # with the note went the checksum of all: each page has its own
                    pass
            counts = Counts(**json.loads(metadata[b"embed_corpus.counts"]))
            with layout.store.open(part) as stored:
                stats = stats_of(stored, counts, metadata.get(b"embed_corpus.content", b"").decode())
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise OutputError(
                f"{part} is damaged or no part of ours: {error}. See `embed-corpus verify --repair`."
            ) from error
        replace_json(layout, note_file(layout, name), stats)
    return stats


def shard_id_of(name: str) -> str:
    """Return the id of the shard whose part has this name."""
    return name.rpartition("-")[2].removesuffix(".parquet")


def note_file(layout: Layout, name: str) -> Key:
    """Return where it is noted what a part holds."""
    return layout.stats / f"{shard_id_of(name)}.json"
