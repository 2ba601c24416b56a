"""Small source files and what is read from them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from embed_corpus.data import Rows
from embed_corpus.source.columns import Columns
from embed_corpus.source.discover import discover
from embed_corpus.source.formats.base import Source
from embed_corpus.source.kept import kept_types
from embed_corpus.source.plan import Plan, inspect_all, make_plan
from embed_corpus.source.read import read_shard

TEXT = Columns(("text",))
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
GOOD = b'{"id": "good", "text": "fine"}'


def files_in(*inputs: object, out: Path = Path("/nowhere")) -> list[str]:
    """Relative paths of the sources behind INPUT."""
    return [file.relative for file in discover(map(str, inputs), out)[0]]


def plan_of(folder: Path, columns: Columns = TEXT, job: str = "job", limit: int | None = None) -> Plan:
    """The plan of one folder."""
    return make_plan(inspect_all(discover([str(folder)], folder / "out")[0], columns), job, limit)


def sources_of(folder: Path, columns: Columns = TEXT) -> list[Source]:
    """The inspected files of one folder."""
    return inspect_all(discover([str(folder)], folder / "out")[0], columns)


def blocks_of(folder: Path, columns: Columns = TEXT) -> list[Rows]:
    """Everything that the shards of one folder give."""
    sources = sources_of(folder, columns)
    types = kept_types(sources, columns)
    return [rows for shard in make_plan(sources, "job").shards for rows in read_shard(shard, columns, types)]


def documents(blocks: list[Rows], column: str = "text") -> list[tuple[int, Any]]:
    """Row number and one column of every document."""
    return [pair for rows in blocks for pair in zip(rows.rows.tolist(), rows.table[column].to_pylist(), strict=True)]


def rejects(blocks: list[Rows]) -> list[tuple[int, str]]:
    """Row number and reason of every reject."""
    return [(reject.row, reject.reason) for rows in blocks for reject in rows.rejects]


def write_jsonl(file: Path, *values: object) -> Path:
    """Write values, one a line; bytes go in as they are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join((v if isinstance(v, bytes) else json.dumps(v).encode()) + b"\n" for v in values)
    file.write_bytes(PACKED[file.suffix if file.suffix in PACKED else ""](content))
    return file


def write_parquet(file: Path, *groups: dict[str, Any], **options: Any) -> Path:
    """Write a Parquet file with these row groups."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tables = [pa.table(group) for group in groups]
    with pq.ParquetWriter(file, tables[0].schema, **options) as writer:
        for table in tables:
            writer.write_table(table)
    return file


def texts(first: int, n: int) -> dict[str, list[str]]:
    """A row group of texts that tell their row."""
    return {"text": [f"row {i}" for i in range(first, first + n)]}


def not_utf8(kind: str = "string") -> pa.Array:
    """The values "ok", two bytes that are no UTF-8, "yo"; Parquet files hold such, Arrow does not look."""
    large = kind == "large_string"
    offsets = pa.array([0, 2, 4, 6], pa.int64() if large else pa.int32()).buffers()[1]
    array = (pa.LargeStringArray if large else pa.StringArray).from_buffers(3, offsets, pa.py_buffer(b"ok\xff\xfeyo"))
    return pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), array) if kind == "dictionary" else array
