"""Search a built index with query vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.errors import OutputError, UsageError
from embed_corpus.index.build import HAMMING, read_manifest
from embed_corpus.sink.snapshot import latest_snapshot
from embed_corpus.sink.vectors import Codec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.sink.layout import Layout

__all__ = ["Hit", "search"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found: similarity, where it stands, and its text where that was kept."""

    score: float
    doc_id: str
    chunk_index: int
    char_start: int
    char_end: int
    text: str | None


def search(layout: Layout, queries: NDArray[np.float32], k: int) -> list[list[Hit]]:
    """Return the `k` best chunks for each query vector [n, dim], best first.

    Over ubinary the queries are made bits, too, and a score is the cosine of the signs.

    Raises:
        UsageError: OUT has no index, or one of another dimension.
        OutputError: the index is damaged.
    """
    import faiss

    manifest = read_manifest(layout)
    if manifest is None:
        raise UsageError(f"{layout.root} has no index: run the same line again with --index flat.")
    snapshot = latest_snapshot(layout)
    if snapshot is None or manifest["snapshot"] != snapshot.number:
        raise UsageError(
            f"the index in {layout.root} is of snapshot {manifest['snapshot']}, the parts have changed since: "
            "run the same line again with --index flat."
        )
    for name, facts in manifest["files"].items():
        file = layout.index / name
        if not file.exists() or file.stat().st_size != facts["bytes"]:
            raise OutputError(f"{file} is missing or damaged: delete {layout.index} and run the same line again.")
    binary = manifest["metric"] == HAMMING
    index = (faiss.read_index_binary if binary else faiss.read_index)(str(layout.index / "index.faiss"))
    if (index.ntotal, index.d) != (manifest["rows"], queries.shape[1]):
        raise UsageError(
            f"{layout.index} holds {index.ntotal} vectors of dimension {index.d}; the query has {queries.shape[1]}."
        )
    queries = np.array(queries, np.float32)
    if binary:
        differing, rows = index.search(Codec("ubinary", index.d).encode(queries), min(k, index.ntotal))
        scores = 1 - 2 * differing / index.d
    else:
        if manifest["metric"] != "inner product":
            faiss.normalize_L2(queries)
        scores, rows = index.search(queries, min(k, index.ntotal))
    with pa.memory_map(str(layout.index / "ids.arrow")) as source:
        ids = pa.ipc.open_file(source).read_all()
        return [
            [_hit(layout, float(score), ids.slice(int(row), 1).to_pylist()[0]) for score, row in zip(s, r, strict=True)]
            for s, r in zip(scores, rows, strict=True)
        ]


def _hit(layout: Layout, score: float, ids: dict[str, Any]) -> Hit:
    text = _text(layout, ids["part"], ids["row"])
    return Hit(score, ids["doc_id"], ids["chunk_index"], ids["char_start"], ids["char_end"], text)


def _text(layout: Layout, part: str, row: int) -> str | None:
    """Fetch one chunk's kept text: only the row group that holds it is read."""
    try:
        with pq.ParquetFile(layout.data / part) as file:
            if "text" not in file.schema_arrow.names:
                return None
            group = 0
            while row >= (size := file.metadata.row_group(group).num_rows):
                group, row = group + 1, row - size
            text: str = file.read_row_group(group, columns=["text"])["text"][row].as_py()
            return text
    except (OSError, IndexError, pa.ArrowException) as error:
        raise OutputError(f"{layout.data / part} is gone or damaged ({error}): run the same line again.") from error
