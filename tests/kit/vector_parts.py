"""Parts of vectors that no model made: an OUT for what begins at the vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embed_corpus.data import Counts
from embed_corpus.sink.parts import PartFormat, open_writer
from embed_corpus.sink.readback import stats_of
from embed_corpus.sink.snapshot import PartEntry, Snapshot, publish_snapshot
from embed_corpus.store.layout import Layout
from embed_corpus.vectors.ranges import Ranges
from kit.places import at

LANGUAGES = ("de", "en", "fr")
SPACE = {"hash": "a space"}


def clustered(n: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors around 50 centres: as hard to search as text, about."""
    centres = np.random.default_rng(99).normal(size=(50, dim))
    dice = np.random.default_rng(seed)
    vectors = centres[dice.integers(0, 50, n)] + dice.normal(size=(n, dim)) * 0.7
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write_part(layout: Layout, name: str, vectors: NDArray[np.float32], kind: str = "float32") -> PartEntry:
    """Write a part of two chunks a document, with kept columns `lang` and `year`."""
    n = len(vectors)
    ranges = Ranges(np.full(vectors.shape[1], -1, np.float32), np.full(vectors.shape[1], 1, np.float32))
    keep = {"lang": pa.string(), "year": pa.int32()}
    facts = {"space": SPACE}
    form = PartFormat(vectors.shape[1], kind, keep, False, facts, True, ranges=ranges if kind == "int8" else None)
    number = np.arange(n)
    ids = [f"{name}-{i // 2}" for i in range(n)]
    stored = form.codec.encode(vectors)
    columns = {
        "doc_id": pa.array(ids),
        "chunk_index": number % 2,
        "char_start": number * 0,
        "char_end": number,
        "n_tokens": number * 0 + 5,
        "content_hash": [b"0" * 16] * n,
        "lang": [LANGUAGES[i // 2 % 3] for i in range(n)],
        "year": number % 100 + 1900,
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), form.codec.width),
    }
    table = pa.table([pa.array(columns[f.name], f.type) for f in form.schema], schema=form.schema)
    counts = Counts(rows=-(-n // 2), documents=-(-n // 2), chunks=n)
    at(layout.data).mkdir(parents=True, exist_ok=True)
    file = at(layout.data / f"{name}.parquet")
    with open_writer(file, form.schema) as writer:
        writer.write_table(table, row_group_size=3000)
    with file.open("rb") as made:
        stats = stats_of(made, counts)
    return PartEntry(file.name, counts, stats["bytes"], stats["sha256"])


def write_out(root: Path, vectors: NDArray[np.float32], n_parts: int, kind: str = "float32") -> tuple[Layout, Snapshot]:
    """Write an OUT of several parts and publish its snapshot."""
    layout = Layout(root)
    blocks = np.array_split(vectors, n_parts)
    parts = [write_part(layout, f"p{i:02d}", block, kind) for i, block in enumerate(blocks)]
    return layout, publish_snapshot(layout, parts)
