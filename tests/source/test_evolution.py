"""Columns that some files lack, or have in another place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus.errors import DataError
from embed_corpus.job.config import JobConfig
from embed_corpus.source import inspected as known_module
from embed_corpus.source.columns import Columns
from embed_corpus.source.discover import discover
from embed_corpus.source.formats import base
from embed_corpus.source.inspected import read_known, to_json
from embed_corpus.source.kept import told_of_columns
from embed_corpus.source.plan import inspect_all
from embed_corpus.store.layout import Layout
from embed_corpus.store.notes import replace_json
from kit.source_files import blocks_of, documents, plan_of, rejects, sources_of, write_jsonl, write_parquet

BOTH = Columns(("title", "body"), "id", ("year",))
KEPT = Columns(("text",), None, ("k",))


def write(file: Path, **row: Any) -> Path:
    """A file of one row, of the kind that its name says."""
    if file.suffix == ".parquet":
        return write_parquet(file, {name: [value] for name, value in row.items()})
    return write_jsonl(file, row)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_columns_added_later_are_null_before(tmp_path: Path, kind: str) -> None:
    """A text or kept column that older files lack is null there, told once with a count."""
    write(tmp_path / f"1.{kind}", id="1", body="heat")
    write(tmp_path / f"2.{kind}", id="2", body="wing", title="T", year=2024)
    write(tmp_path / f"3.{kind}", id="3", title="only")
    blocks = blocks_of(tmp_path, BOTH)
    assert [text for _, text in documents(blocks)] == ["heat", "T\n\nwing", "only"]
    assert [year for _, year in documents(blocks, "year")] == [None, 2024, None]
    assert list(told_of_columns(sources_of(tmp_path, BOTH), BOTH)) == [
        f"column 'title' is null in 1 of 3 files, which lack it, e.g. {tmp_path / f'1.{kind}'}",
        f"column 'year' is null in 2 of 3 files, which lack it, e.g. {tmp_path / f'1.{kind}'}",
        f"column 'body' is null in 1 of 3 files, which lack it, e.g. {tmp_path / f'3.{kind}'}",
    ]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("row", "name", "flag"),
    [({"id": "1"}, "title", "--text-column"), ({"body": "x"}, "id", "--id-column")],
)
def test_what_no_file_may_lack(tmp_path: Path, kind: str, row: dict[str, str], name: str, flag: str) -> None:
    """A file without the id column, or without any text column, is an error that says what it has."""
    write(tmp_path / f"1.{kind}", **row)
    write(tmp_path / f"2.{kind}", id="2", body="x", title="t", year=1)
    with pytest.raises(DataError, match=rf"1\.{kind} has no column '{name}'\. It has: .*\. Name one with {flag}"):
        plan_of(tmp_path, BOTH)


def test_a_column_that_no_file_has(tmp_path: Path) -> None:
    """A column that exists nowhere is refused with what exists; files without a row are not asked."""
    write(tmp_path / "1.parquet", id="1", body="x", title="t")
    write(tmp_path / "2.jsonl", id="2", body="x", title="t")
    (tmp_path / "3.jsonl").write_bytes(b"")
    with pytest.raises(DataError) as error:
        plan_of(tmp_path, BOTH)
    assert [line.split(" Name")[0] for line in str(error.value).splitlines()] == [
        f"{tmp_path / '1.parquet'} has no column 'year'. It has: id, body, title.",
        f"{tmp_path / '2.jsonl'} has no column 'year'. It has: id, body, title.",
    ]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_strict_schema(tmp_path: Path, kind: str) -> None:
    """`--strict-schema`, and with it `--strict`, refuses files that lack a column, each by name, and widening."""
    write(tmp_path / f"1.{kind}", id="1", body="heat", year=1)
    write(tmp_path / f"2.{kind}", id="2", body="wing", title="T", year=2)
    with pytest.raises(DataError, match=rf"^{tmp_path}/1\.{kind} has no column 'title'\. [^\n]*$"):
        plan_of(tmp_path, replace(BOTH, strict=True))
    assert JobConfig(("in",), tmp_path, strict=True).columns.strict
    write_parquet(tmp_path / "p" / "1.parquet", {"text": ["x"], "k": pa.array([1], pa.int32())})
    write_parquet(tmp_path / "p" / "2.parquet", {"text": ["x"], "k": pa.array([1], pa.int64())})
    with pytest.raises(DataError, match=r"int32 in .*1\.parquet but int64 in .*2\.parquet, which --strict-schema"):
        blocks_of(tmp_path / "p", Columns(("text",), None, ("k",), strict=True))
    (told,) = told_of_columns(sources_of(tmp_path / "p", KEPT), KEPT)
    assert told == "kept column 'k' is int32 and int64 in the files, int64 in the parts"


def test_what_was_seen_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file known from the night before tells the same of its columns without being opened."""
    write(tmp_path / "in" / "1.jsonl", id="1", body="x", year=1.5)
    write(tmp_path / "in" / "k=1" / "2.parquet", id="2", title="t")
    columns = Columns(("title", "body"), "id", ("year", "k"))
    sources = sources_of(tmp_path / "in", columns)
    layout = Layout(tmp_path / "out")
    replace_json(layout, layout.sources, to_json(sources, columns, 1 << 62))
    known = read_known(layout, columns)
    monkeypatch.setattr(known_module, "inspect", None)
    assert inspect_all(discover([str(tmp_path / "in")], tmp_path / "out")[0], columns, known) == sources


# ── inside structs ────────────────────────────────────────────────────────────────────────

INSIDE = Columns(("doc.text",), "meta.id", ("meta.a.b", "meta"))


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_columns_inside_structs(tmp_path: Path, kind: str) -> None:
    """Text, id and kept columns may lie inside structs, whole structs be kept beside what is in them."""
    rows = [{"doc": {"text": f"t{i}", "more": i}, "meta": {"id": i, "a": {"b": f"b{i}"}}} for i in range(3)]
    rows.append({"doc": None, "meta": {"id": 3, "a": None}})
    if kind == "parquet":
        write_parquet(tmp_path / "a.parquet", {name: [row[name] for row in rows] for name in ("doc", "meta")})
    else:
        write_jsonl(tmp_path / "a.jsonl", *rows)
    blocks = blocks_of(tmp_path, INSIDE)
    assert [v for _, v in documents(blocks)] == ["t0", "t1", "t2"]
    assert [v for _, v in documents(blocks, "doc_id")] == ["0", "1", "2"]
    assert [v for _, v in documents(blocks, "meta.a.b")] == ["b0", "b1", "b2"]
    whole = [row["meta"] if kind == "parquet" else json.dumps(row["meta"]) for row in rows[:3]]
    assert [v for _, v in documents(blocks, "meta")] == whole
    assert rejects(blocks) == [(3, "empty")]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_column_of_the_very_name_wins(tmp_path: Path, kind: str) -> None:
    """A column at the top that is called `a.b` is meant before a field `b` of `a`."""
    write(tmp_path / f"a.{kind}", **{"a": {"b": "inner"}, "a.b": "outer"})
    assert documents(blocks_of(tmp_path, Columns(("a.b",)))) == [(0, "outer")]


def test_null_structs_hide_what_is_in_them(tmp_path: Path) -> None:
    """Of a struct that is null, no field has a value, whatever lies behind it."""
    doc = pa.StructArray.from_arrays([pa.array(["seen", "hidden"])], ["text"], mask=pa.array([False, True]))
    write_parquet(tmp_path / "a.parquet", {"doc": doc})
    blocks = blocks_of(tmp_path, Columns(("doc.text",)))
    assert (documents(blocks), rejects(blocks)) == ([(0, "seen")], [(1, "empty")])


def test_shards_are_cut_by_text_inside_structs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard's limit counts the text wherever it lies: in structs and lists; not what lies beside it."""
    groups = ({"doc": [{"text": ["x" * 100 + str(i)] * 2, "other": "y" * 5000}] * 10} for i in range(3))
    file = write_parquet(tmp_path / "a.parquet", *groups, use_dictionary=False)
    one = pq.read_metadata(file).row_group(0).column(0).total_uncompressed_size
    monkeypatch.setattr(base, "SHARD_BYTES", 2 * one + 20)
    assert [shard.n_rows for shard in plan_of(tmp_path, Columns(("doc.text",))).shards] == [20, 10]


def test_a_rare_column_inside_an_object_is_found(tmp_path: Path) -> None:
    """A field that only a late line has is there; one that no line has is not."""
    write_jsonl(tmp_path / "a.jsonl", *[{"text": "x"}] * 150, {"text": "x", "m": {"t": "y"}})
    assert [v for _, v in documents(blocks_of(tmp_path, Columns(("text",), keep=("m.t",))), "m.t")][-1] == "y"
    with pytest.raises(DataError, match=r"has no column 'm\.u'"):
        plan_of(tmp_path, Columns(("text",), keep=("m.u",)))
