"""Build the index of a snapshot, part by part."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.errors import OutputError, UsageError
from embed_corpus.sink.commit import attempt, replace, replace_json
from embed_corpus.sink.readback import vectors_of
from embed_corpus.sink.vectors import codec_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embed_corpus.sink.layout import Layout
    from embed_corpus.sink.snapshot import Snapshot
    from embed_corpus.sink.vectors import Codec

__all__ = ["HAMMING", "build_flat", "check_indexable", "read_manifest"]

log = logging.getLogger("embed_corpus")

HAMMING = "hamming"
_SCALED = "inner product of scaled vectors"
_IDS = ["doc_id", "chunk_index", "char_start", "char_end"]


def check_indexable(similarity: str) -> None:
    """Check that an index can be built at all: before the first batch, not after the last.

    Raises:
        UsageError: faiss is not installed, or the model compares by neither cosine nor dot product.
    """
    if importlib.util.find_spec("faiss") is None:
        raise UsageError(
            "--index needs faiss, which is not installed: pip install 'embed-corpus[index]', or --index none."
        )
    if similarity not in {"cosine", "dot"}:
        raise UsageError(f"--index: the model compares by {similarity!r}; supported are cosine and dot.")


def build_flat(layout: Layout, snapshot: Snapshot, *, similarity: str, normalized: bool) -> int:
    """Build an exact index over a snapshot's vectors, unless it is there; return its size.

    By inner product, int8 as the floats that it stands for; ubinary by the bits that differ.

    Beside `index.faiss` lie `ids.arrow` (row i tells the chunk of vector i: doc_id,
    chunk_index, char_start, char_end, part, row) and `index.json`, written last.

    Raises:
        UsageError: see `check_indexable`.
        OutputError: the index cannot be written.
    """
    check_indexable(similarity)
    if _is_there(layout, snapshot):
        return snapshot.counts.chunks
    if not snapshot.counts.chunks:
        log.warning("no vectors, so no index")
        return 0
    log.info("building a flat index of %s vectors", f"{snapshot.counts.chunks:,}")
    codec = codec_of(pq.read_schema(layout.data / snapshot.parts[0].name))
    scale = similarity == "cosine" and not (normalized and not codec.quantised)
    manifest: dict[str, Any] = {
        "type": "flat",
        "metric": HAMMING if codec.kind == "ubinary" else _SCALED if scale else "inner product",
        "vector_type": codec.kind,
        "rows": snapshot.counts.chunks,
        "recall": 1.0,
        "snapshot": snapshot.number,
        "parts": _parts_digest(snapshot),
    }
    layout.index.mkdir(exist_ok=True)
    with attempt(layout.tmp, "index.faiss") as index, attempt(layout.tmp, "ids.arrow") as ids:
        manifest["dim"] = _write(layout, snapshot, index, ids, scale=scale)
        (layout.index / "index.json").unlink(missing_ok=True)  # what is half replaced names no index
        manifest["files"] = {}
        for made, name in ((index, "index.faiss"), (ids, "ids.arrow")):
            with made.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            manifest["files"][name] = {"bytes": made.stat().st_size, "sha256": digest}
            replace(made, layout.index / name)
    replace_json(layout.index / "index.json", manifest, layout.tmp, durable=True)
    return snapshot.counts.chunks


def _is_there(layout: Layout, snapshot: Snapshot) -> bool:
    """Tell whether a complete index of this very snapshot is there; a damaged one is not."""
    try:
        manifest = read_manifest(layout)
        return (
            manifest is not None
            and manifest["snapshot"] == snapshot.number
            and manifest["parts"] == _parts_digest(snapshot)
            and all((layout.index / n).stat().st_size == f["bytes"] for n, f in manifest["files"].items())
        )
    except (OutputError, OSError, KeyError, TypeError, AttributeError):
        return False


def read_manifest(layout: Layout) -> dict[str, Any] | None:
    """Return index.json, None where there is no (complete) index.

    Raises:
        OutputError: index.json is damaged.
    """
    file = layout.index / "index.json"
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf8"))
        missing = {"type", "metric", "rows", "snapshot", "parts", "files"} - manifest.keys()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise OutputError(f"{file} is damaged ({error}): run the same line again with --index flat.") from error
    if missing:
        raise OutputError(f"{file} is damaged (no {min(missing)}): run the same line again with --index flat.")
    return manifest


def _write(layout: Layout, snapshot: Snapshot, index_file: Path, ids_file: Path, *, scale: bool) -> int:
    import faiss

    index: Any = None
    with pa.OSFile(str(ids_file), "wb") as sink, pa.ipc.new_file(sink, _ids_schema()) as ids:
        for part, codec, batch, first in _batches(layout, snapshot):
            vectors = vectors_of(batch["embedding"])
            if index is None:
                index = (faiss.IndexBinaryFlat if codec.kind == "ubinary" else faiss.IndexFlatIP)(codec.dim)
            if codec.kind != "ubinary":
                vectors = codec.decode(vectors)
                if scale:
                    faiss.normalize_L2(vectors)
            index.add(vectors)
            where = [pa.repeat(pa.scalar(part), len(batch)), pa.array(np.arange(first, first + len(batch)))]
            ids.write_batch(pa.record_batch([*(batch[name] for name in _IDS), *where], schema=_ids_schema()))
    assert index is not None
    try:
        write = faiss.write_index_binary if isinstance(index, faiss.IndexBinary) else faiss.write_index
        write(index, str(index_file))
    except RuntimeError as error:  # what faiss makes of a full disk
        raise OutputError(f"{layout.index}: the index cannot be written: {error}") from error
    return int(index.d)


def _batches(layout: Layout, snapshot: Snapshot) -> Iterator[tuple[str, Codec, pa.RecordBatch, int]]:
    """Yield (part name, how its vectors are stored, rows, number of the first row in the part), in snapshot order."""
    for part in snapshot.parts:
        first = 0
        with pq.ParquetFile(layout.data / part.name, page_checksum_verification=True) as file:
            codec = codec_of(file.schema_arrow)
            for batch in file.iter_batches(8192, columns=[*_IDS, "embedding"]):
                yield part.name, codec, batch, first
                first += len(batch)


def _ids_schema() -> pa.Schema:
    return pa.schema(
        [
            ("doc_id", pa.string()),
            ("chunk_index", pa.int32()),
            ("char_start", pa.int64()),
            ("char_end", pa.int64()),
            ("part", pa.string()),
            ("row", pa.int64()),
        ]
    )


def _parts_digest(snapshot: Snapshot) -> str:
    return hashlib.sha256("".join(part.sha256 for part in snapshot.parts).encode()).hexdigest()
