"""What a file really is, by its first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, orc

from embed_corpus.firstbytes import ENOUGH, other_kind, other_kind_of

LINES = b'{"id": "a", "text": "heat"}\n' * 50
TABLE = pa.table({"text": ["heat"]})
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 90868376\n" % (b"0" * 64)
EXPECTED = ["jsonl", "json", "parquet", "safetensors", "gzip", "zstd", "xz", "bzip2"]


def archive(kind: str) -> bytes:
    """A zip or tar archive of one file."""
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w") as packed:
            packed.writestr("a.jsonl", LINES)
    else:
        with tarfile.open(fileobj=stream, mode="w") as tape:
            tape.addfile(info := tarfile.TarInfo("a.jsonl"), io.BytesIO(LINES[: info.size]))
    return stream.getvalue()


def written(write: object) -> bytes:
    """What one of Arrow's writers makes of a table."""
    stream = io.BytesIO()
    write(TABLE, stream)  # type: ignore[operator]
    return stream.getvalue()


def ipc_stream() -> bytes:
    """A table as an Arrow stream, without the marks of a file."""
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return stream.getvalue()


def database() -> bytes:
    """A SQLite file."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (text)")
    content = connection.serialize()
    connection.close()
    return content


KINDS = {
    "Git LFS": POINTER,
    "HTML": b"\n<!DOCTYPE html>\n<html><head><title>404</title>",
    "HTML page": b"<!-- served --><HTML lang=en>",
    "XML": b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code>',
    "UTF-16": LINES.decode().encode("utf-16"),
    "UTF-16:": LINES.decode().encode("utf-16-le"),
    "UTF-16: ": LINES.decode().encode("utf-16-be"),
    "UTF-32": LINES.decode().encode("utf-32"),
    "UTF-32:": LINES.decode().encode("utf-32-le"),
    "UTF-32: ": LINES.decode().encode("utf-32-be"),
    "with gzip": gzip.compress(LINES),
    "with zstd": zstandard.compress(LINES),
    "with xz": lzma.compress(LINES),
    "with bzip2": bz2.compress(LINES),
    "zip archive": archive("zip"),
    "tar archive": archive("tar"),
    "SQLite": database(),
    "Parquet": written(pq.write_table),
    "Arrow file": written(feather.write_feather),
    "Arrow stream": ipc_stream(),
    "ORC": written(orc.write_table),
    "Avro": b"Obj\x01\x04\x16avro.schema",
    "PDF": b"%PDF-1.7\n",
    "pickle": pickle.dumps({"text": "heat"}),
    "pickle, which": pickle.dumps([1.5], 2),
    "zero bytes": bytes(4096),
}


@pytest.mark.parametrize("told", KINDS)
def test_each_kind_is_told(told: str, tmp_path: Path) -> None:
    """What real writers make is named under every other name, and not under its own."""
    (tmp_path / "file").write_bytes(KINDS[told])
    own = {"with gzip": "gzip", "with zstd": "zstd", "with xz": "xz", "with bzip2": "bzip2", "Parquet": "parquet"}
    for expected in EXPECTED:
        said = other_kind_of(tmp_path / "file", expected)
        if own.get(told) == expected:
            assert said is None
        else:
            assert told.strip() in (said or ""), expected


@given(st.lists(st.dictionaries(st.text(), st.text() | st.none() | st.floats(allow_nan=False))), st.booleans())
def test_json_lines_are_never_taken_for_another(rows: list[dict[str, object]], mark: bool) -> None:
    """Whatever stands in JSON lines, with a byte order mark or without, they are JSON lines."""
    content = (b"\xef\xbb\xbf" if mark else b"") + b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    assert other_kind(content[:ENOUGH], "jsonl") is None


@given(st.integers(2, 100_000_000))
def test_weights_are_never_taken_for_another(length: int) -> None:
    """A safetensors file may begin with the length 559903, which are the bytes that gzip begins with, and any other."""
    assert other_kind(length.to_bytes(8, "little") + b'{"__metadata__"', "safetensors") is None


@pytest.mark.parametrize(
    "begin", [b"", b"\n", b"{", b"   ", b"plain text", b"id,text\n1,heat", b"[1, 2]", b"BZh9 ", b"PKP"]
)
def test_what_nothing_is_known_of(begin: bytes) -> None:
    """Too little, or text of another sort, is left to those who read it."""
    assert [other_kind(begin, expected) for expected in EXPECTED] == [None] * len(EXPECTED)
