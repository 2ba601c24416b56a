"""From shards to documents."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_corpus.errors import DataError
from embed_corpus.source import read
from embed_corpus.source.columns import Columns
from embed_corpus.source.formats import base
from embed_corpus.source.read import read_shard
from kit.source_files import (
    GOOD,
    PACKED,
    TEXT,
    blocks_of,
    documents,
    plan_of,
    rejects,
    texts,
    write_jsonl,
    write_parquet,
)


@pytest.mark.parametrize("packed", PACKED)
def test_byte_order_mark(tmp_path: Path, packed: str) -> None:
    """A byte order mark before the first line is no part of it."""
    write_jsonl(tmp_path / f"a.jsonl{packed}", b"\xef\xbb\xbf" + GOOD, GOOD)
    assert documents(blocks_of(tmp_path)) == [(0, "fine"), (1, "fine")]


def test_lines_without_final_newline(tmp_path: Path) -> None:
    """Windows line ends and a last line without one are read as any other."""
    (tmp_path / "a.jsonl").write_bytes(GOOD + b"\r\n" + GOOD)
    assert documents(blocks_of(tmp_path)) == [(0, "fine"), (1, "fine")]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_ids_become_text(tmp_path: Path, kind: pa.DataType) -> None:
    """Ids of any text or whole-number type come out as text."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x", "y"], "id": pa.array(["1", "2"]).cast(kind)})
    assert documents(blocks_of(tmp_path, Columns(("text",), "id")), "doc_id") == [(0, "1"), (1, "2")]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_text_of_other_types(tmp_path: Path, kind: pa.DataType) -> None:
    """Every type of text that Parquet readers know comes out as plain text, kept or embedded."""
    array = pa.array(["é", None, "b"]).cast(kind)
    write_parquet(tmp_path / "a.parquet", {"text": array, "k": array})
    blocks = blocks_of(tmp_path, Columns(("text",), None, ("k",)))
    assert documents(blocks) == documents(blocks, "k") == [(0, "é"), (2, "b")]
    assert {rows.table.schema.field("k").type for rows in blocks} == {pa.string()}


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_text_columns_are_joined(tmp_path: Path, name: str) -> None:
    """Text columns are joined with a blank line in the order asked for; empty and null ones leave no gap."""
    rows = [
        {"a": "A", "b": "B"},
        {"a": "A", "b": None},
        {"a": "", "b": "B"},
        {"a": None, "b": ""},
        {"a": " ", "b": "B"},
    ]
    if name == "a.jsonl":
        write_jsonl(tmp_path / name, *rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    blocks = blocks_of(tmp_path, Columns(("b", "a")))
    assert documents(blocks) == [(0, "B\n\nA"), (1, "A"), (2, "B"), (4, "B\n\n ")]
    assert rejects(blocks) == [(3, "empty")]


def test_default_ids(tmp_path: Path) -> None:
    """Without an id column a document is named by its source's relative path and its row."""
    write_jsonl(tmp_path / "sub" / "a.jsonl", GOOD, b"{", GOOD)
    assert documents(blocks_of(tmp_path), "doc_id") == [(0, "sub/a.jsonl#0"), (2, "sub/a.jsonl#2")]


def test_source_name_that_is_no_utf8(tmp_path: Path) -> None:
    """A file whose name is no UTF-8, which Linux allows, is read or refused by name, never a crash."""
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.jsonl"))
    file.write_bytes(GOOD + b"\n{bad\n")
    try:
        (rows,) = blocks_of(tmp_path)
    except DataError as error:
        assert "name" in str(error)  # noqa: PT017  # either is fine
    else:
        assert rows.table["doc_id"].to_pylist()[0].encode()


def test_kept_json_values_of_several_kinds(tmp_path: Path) -> None:
    """Kept as text by choice, values of all kinds are kept: what is no text as its JSON, what is absent as null."""
    values = ["t", 5, True, {"é": [1, None]}, None, 2**70, 1.5]
    write_jsonl(tmp_path / "a.jsonl", *({"text": "x", "k": value} for value in values), {"text": "x"})
    write_jsonl(tmp_path / "b.jsonl", b'{"text": "x", "k": 1e400}')
    columns = Columns(("text",), None, ("k",), (("k", "text"),))
    kept = [value for _, value in documents(blocks_of(tmp_path, columns), "k")]
    assert kept == ["t", "5", "true", '{"é": [1, null]}', None, str(2**70), "1.5", None, "1e400"]


def test_kept_json_values_take_the_type_of_parquet(tmp_path: Path) -> None:
    """JSON values that a column of Parquet holds unchanged take its type."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "n": pa.array([1.5], pa.float32()), "l": [[1]]})
    write_jsonl(tmp_path / "b.jsonl", *({"text": "x", "n": n, "l": [n]} for n in (2, None, 3, 2.5)))
    _, blocks = blocks_of(tmp_path, Columns(("text",), None, ("n", "l")))
    assert blocks.table["n"].to_pylist() == [2.0, None, 3.0]
    assert blocks.table["l"].to_pylist() == [[2], [None], [3]]
    assert rejects([blocks]) == [(3, "wrong_type")]


def test_number_ids_may_be_kept(tmp_path: Path) -> None:
    """An id column of numbers can also be kept, as numbers, from both kinds of source."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "id": [1]})
    write_jsonl(tmp_path / "b.jsonl", {"text": "x", "id": 2})
    blocks = blocks_of(tmp_path, Columns(("text",), "id", ("id",)))
    assert [value for _, value in documents(blocks, "doc_id")] == ["1", "2"]
    assert [value for _, value in documents(blocks, "id")] == [1, 2]


def test_huge_row_groups_come_in_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are bounded by rows and by bytes of text, whatever the row groups."""
    monkeypatch.setattr(read, "SMALL", read.BlockSize(4, 1 << 17))
    write_parquet(tmp_path / "p" / "a.parquet", texts(0, 10))
    assert [len(rows.table) for rows in blocks_of(tmp_path / "p")] == [4, 4, 2]
    monkeypatch.setattr(read, "SMALL", read.BlockSize(64, 2))
    write_jsonl(tmp_path / "j" / "a.jsonl", *({"text": "x"} for _ in range(3)))
    assert [len(rows.table) for rows in blocks_of(tmp_path / "j")] == [1, 1, 1]
    assert documents(blocks_of(tmp_path / "p")) == [(i, f"row {i}") for i in range(10)]


# ── damaged files ─────────────────────────────────────────────────────────────────────────


def _content(name: str) -> bytes:
    """The bytes of a source of many distinct texts, so that what is compressed is no short file."""
    rows = [{"text": os.urandom(200).hex()} for _ in range(50)]
    if name.endswith(".parquet"):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink, write_page_checksum=True)
        return sink.getvalue().to_pybytes()
    return PACKED[Path(name).suffix](b"".join(json.dumps(row).encode() + b"\n" for row in rows))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_damaged_file(tmp_path: Path, name: str, damage: str) -> None:
    """A file cut short, or that is something else, is an error that names it and the remedy; never a short read."""
    content = _content(name)
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3] if damage == "cut" else b"\0garbage" * 100)
    with pytest.raises(DataError) as error:
        plan_of(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name} cannot be read: ")
    assert str(error.value).endswith(" Replace the file, or take it out of INPUT.")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_file_damaged_after_planning(tmp_path: Path, name: str) -> None:
    """A file that turns out unreadable in mid-run fails its shard, with the rows it was to give."""
    content = _content(name)
    (tmp_path / name).write_bytes(content)
    (shard,) = plan_of(tmp_path).shards
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"rows \d+ to 49: .* run the same line again") as error:
        list(read_shard(shard, TEXT, {}))
    assert str(tmp_path / name) in str(error.value)


def test_page_checksum(tmp_path: Path) -> None:
    """A flipped bit in a Parquet page that has a checksum is noticed."""
    content = bytearray(_content("a.parquet"))
    content[len(content) // 3] ^= 1
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet"):
        blocks_of(tmp_path)


def test_footer_with_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    """A Parquet footer whose column name is damaged is an unreadable file like any other."""
    content = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["x"]}), content, store_schema=False)
    (tmp_path / "a.parquet").write_bytes(content.getvalue().to_pybytes().replace(b"text", b"te\xfft"))
    with pytest.raises(DataError, match=r"a\.parquet"):
        plan_of(tmp_path)


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_file_of_several_members(tmp_path: Path, packed: str) -> None:
    """Packed files laid end to end, as `cat` makes them, are read to the last."""
    member = PACKED[packed](GOOD + b"\n")
    (tmp_path / f"a.jsonl{packed}").write_bytes(member * 3)
    assert documents(blocks_of(tmp_path)) == [(i, "fine") for i in range(3)]


def test_file_rewritten_with_as_many_rows(tmp_path: Path) -> None:
    """A source that was written anew since the plan fails its shard, though it has as many rows."""
    write_jsonl(tmp_path / "a.jsonl", {"text": "old"})
    (shard,) = plan_of(tmp_path).shards
    write_jsonl(tmp_path / "a.jsonl", {"text": "new"})
    os.utime(tmp_path / "a.jsonl", ns=(0, shard.mtime_ns + 1))
    with pytest.raises(DataError, match=r"a\.jsonl changed during the run"):
        list(read_shard(shard, Columns(("text",)), {}))


@pytest.mark.usefixtures("_deadline")
@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
@pytest.mark.parametrize("rows_left", [5, 2])
def test_file_that_lost_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, rows_left: int) -> None:
    """A shard that no longer has the rows of its plan fails, even if the file now ends before it begins."""

    def write(n: int) -> None:
        write_parquet(tmp_path / name, texts(0, n)) if name == "a.parquet" else write_jsonl(
            tmp_path / name, *[{"text": "x"}] * n
        )

    monkeypatch.setattr(base, "SHARD_ROWS", 4)
    write(8)
    shard = plan_of(tmp_path).shards[1]
    write(rows_left)
    with pytest.raises(DataError, match=r"changed during the run \(4 rows planned from row 4, [01] read\)") as error:
        list(read_shard(shard, TEXT, {}))
    assert str(tmp_path / name) in str(error.value)


# ── every row comes out once ──────────────────────────────────────────────────────────────

GOOD_LINES = st.text(min_size=1).filter(lambda t: t.strip()).map(lambda t: json.dumps({"text": f"_{t}"}).encode())
BAD_LINES = st.one_of(
    st.sampled_from(
        [b"", b" ", b"{", b"[1]", b"5", b'{"text": null}', b'{"text": 1}', b'{"a": 1}', b'{"text": "\xc3"}']
    ),
    st.binary(max_size=8).map(lambda b: b"{" + b.replace(b"\n", b"").replace(b"}", b"")),
)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.one_of(GOOD_LINES.map(lambda b: (True, b)), BAD_LINES.map(lambda b: (False, b))), max_size=40),
    packed=st.sampled_from(list(PACKED)),
    shard_rows=st.integers(1, 15),
)
def test_every_line_is_a_document_or_a_reject(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bool, bytes]], packed: str, shard_rows: int
) -> None:
    """Whatever the lines, the shards and the blocks: each good line is a document, each bad one a reject, by row."""
    folder = tmp_path_factory.mktemp("lines")
    write_jsonl(folder / f"a.jsonl{packed}", GOOD, *(line for _, line in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "SHARD_ROWS", shard_rows)
        patch.setattr(read, "SMALL", read.BlockSize(4, 1 << 17))
        blocks = blocks_of(folder)
    good = [(0, "fine")] + [(i, json.loads(line)["text"]) for i, (fine, line) in enumerate(rows, 1) if fine]
    assert documents(blocks) == good
    assert [row for row, _ in rejects(blocks)] == [i for i, (fine, _) in enumerate(rows, 1) if not fine]
