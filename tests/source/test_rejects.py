"""What becomes of bad rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus.errors import DataError
from embed_corpus.source import read
from embed_corpus.source.columns import Columns
from embed_corpus.source.lines import lines, open_stream
from kit.source_files import (
    GOOD,
    PACKED,
    blocks_of,
    documents,
    not_utf8,
    rejects,
    write_jsonl,
)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "a", "text": null}', "empty"),
        (b'{"id": "a", "text": ""}', "empty"),
        (b'{"id": "a", "text": " \\t\\n\\u3000"}', "empty"),
        (b'{"id": "a"}', "empty"),
        (b"", "empty"),
        (b"  \t", "empty"),
        (b'{"id": "a", "text": "x"', "bad_json"),
        (b'["text"]', "bad_json"),
        (b"null", "bad_json"),
        (b'{"id": "a", "text": "x", "text": "y"}', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"id": "a", "text": ' + b"1" * 5000 + b"}", "bad_json"),
        (b'{"id": "a", "text": "\xff"}', "invalid_utf8"),
        (b'{"id": "a", "text": "\\ud800"}', "invalid_utf8"),
        (b'{"id": "\\udfff", "text": "x"}', "invalid_utf8"),
        (b'{"id": "a", "text": 5}', "wrong_type"),
        (b'{"id": "a", "text": ["x", 5]}', "wrong_type"),
        (b'{"id": "a", "text": [["x"]]}', "wrong_type"),
        (b'{"id": "a", "text": [null, ""]}', "empty"),
        (b'{"id": 1.5, "text": "x"}', "wrong_type"),
        (b'{"id": true, "text": "x"}', "wrong_type"),
        (b'{"id": null, "text": "x"}', "no_id"),
        (b'{"text": "x"}', "no_id"),
        (b'{"id": "good", "text": "again"}', "duplicate_id"),
    ],
)
def test_bad_line(tmp_path: Path, line: bytes, reason: str) -> None:
    """A bad line costs only itself: it becomes a reject with its row and reason, its neighbours documents."""
    write_jsonl(tmp_path / "a.jsonl", GOOD, line, b'{"id": 7, "text": "after"}')
    blocks = blocks_of(tmp_path, Columns(("text",), "id"))
    assert documents(blocks, "doc_id") == [(0, "good"), (2, "7")]
    assert rejects(blocks) == [(1, reason)]


@pytest.mark.parametrize("line", [b"{bad", b"[]", b'{"text": "\xff"}', b'{"text": 5}'])
def test_only_bad_lines(tmp_path: Path, line: bytes) -> None:
    """A file of nothing but bad lines gives nothing but rejects."""
    write_jsonl(tmp_path / "a.jsonl", line, line)
    blocks = blocks_of(tmp_path)
    assert [row for row, _ in rejects(blocks)] == [0, 1]
    assert documents(blocks) == []


def test_bad_lines_at_a_blocks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad lines that remain after the last full block are still accounted for."""
    monkeypatch.setattr(read, "SMALL", read.BlockSize(2, 1 << 17))
    write_jsonl(tmp_path / "a.jsonl", GOOD, GOOD, b"{bad", b"{bad")
    blocks = blocks_of(tmp_path)
    assert ([row for row, _ in documents(blocks)], rejects(blocks)) == ([0, 1], [(2, "bad_json"), (3, "bad_json")])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "a", "text": None}, "empty"),
        ({"id": "a", "text": ""}, "empty"),
        ({"id": "a", "text": " \n\u3000"}, "empty"),
        ({"id": None, "text": "x"}, "no_id"),
        ({"id": "good", "text": "x"}, "duplicate_id"),
    ],
)
def test_bad_parquet_row(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    """The same holds for a row of a Parquet file."""
    rows = [{"id": "good", "text": "fine"}, row, {"id": "b", "text": "after"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    blocks = blocks_of(tmp_path, Columns(("text",), "id"))
    assert documents(blocks, "doc_id") == [(0, "good"), (2, "b")]
    assert rejects(blocks) == [(1, reason)]


@pytest.mark.parametrize("kind", ["string", "large_string"])
@pytest.mark.parametrize("column", ["text", "id", "kept"])
def test_invalid_utf8_in_parquet(tmp_path: Path, kind: str, column: str) -> None:
    """A Parquet value that is no UTF-8 makes its row a reject, in whatever column that is read as text."""
    table = {"text": ["a", "b", "c"], "id": ["d", "e", "f"], "kept": ["g", "h", "i"], column: not_utf8(kind)}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    blocks = blocks_of(tmp_path, Columns(("text",), "id", ("kept",)))
    assert rejects(blocks) == [(1, "invalid_utf8")]
    assert documents(blocks, {"id": "doc_id"}.get(column, column)) == [(0, "ok"), (2, "yo")]


def test_invalid_utf8_in_a_dictionary(tmp_path: Path) -> None:
    """Where Arrow itself refuses a value that is no UTF-8 (dictionaries), the shard fails by name: nothing is lost."""
    pq.write_table(pa.table({"text": not_utf8("dictionary")}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, rows 0 to 2: Invalid UTF8"):
        blocks_of(tmp_path)


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document over the limit is a reject."""
    monkeypatch.setattr(read, "MAX_DOC_BYTES", 10)
    write_jsonl(tmp_path / "a.jsonl", {"text": "x" * 10}, {"text": "é" * 6})
    blocks = blocks_of(tmp_path)
    assert ([row for row, _ in documents(blocks)], rejects(blocks)) == ([0], [(1, "too_large")])


@pytest.mark.parametrize("packed", PACKED)
def test_overlong_line_is_passed_over(tmp_path: Path, packed: str) -> None:
    """A line over the limit is not held in memory: it comes as None with its size, and the next one is whole."""
    (tmp_path / f"a{packed}").write_bytes(PACKED[packed](b"1234567\n" + b"x" * 3_000_000 + b"\nend"))
    with open_stream(tmp_path / f"a{packed}") as stream:
        assert list(lines(stream, 8)) == [(b"1234567\n", 8), (None, 3_000_001), (b"end", 3)]


def test_duplicates_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first good row of an id counts in the whole shard; a rejected row does not take its id."""
    monkeypatch.setattr(read, "SMALL", read.BlockSize(2, 1 << 17))
    ids = ["a", "b", "c", "a", "d", "b"]
    write_jsonl(tmp_path / "a.jsonl", *({"id": i, "text": "" if n == 1 else "x"} for n, i in enumerate(ids)))
    blocks = blocks_of(tmp_path, Columns(("text",), "id"))
    assert rejects(blocks) == [(1, "empty"), (3, "duplicate_id")]
    assert documents(blocks, "doc_id") == [(0, "a"), (2, "c"), (4, "d"), (5, "b")]


def test_reject_tells_source_and_id(tmp_path: Path) -> None:
    """A reject names its source relative to INPUT, its row, its id where it has one, and what was wrong."""
    write_jsonl(tmp_path / "sub" / "a.jsonl", GOOD, {"id": "b", "text": ""}, b"{")
    empty, broken = (reject for rows in blocks_of(tmp_path, Columns(("text",), "id")) for reject in rows.rejects)
    assert (empty.source, empty.row, empty.doc_id) == ("sub/a.jsonl", 1, "b")
    assert (broken.row, broken.doc_id) == (2, None)
    assert "Expecting property name" in broken.detail
