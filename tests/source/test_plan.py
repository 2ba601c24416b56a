"""From source files to shards: what is checked, how they are cut, what they are called."""

from __future__ import annotations

import json
import os
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus.errors import DataError
from embed_corpus.source import read
from embed_corpus.source.columns import Columns
from embed_corpus.source.formats import base
from embed_corpus.source.plan import Plan, shard_from_json
from embed_corpus.source.read import read_shard
from kit.source_files import (
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


def test_row_groups_are_joined_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups share a shard up to its limit; a larger one is split evenly; each row is read once."""
    monkeypatch.setattr(base, "SHARD_ROWS", 10)
    monkeypatch.setattr(read, "SMALL", read.BlockSize(3, 1 << 17))
    sizes = [4, 4, 4, 25, 1]
    write_parquet(tmp_path / "a.parquet", *(texts(sum(sizes[:i]), n) for i, n in enumerate(sizes)))
    cuts = [(shard.first_row, shard.n_rows) for shard in plan_of(tmp_path).shards]
    assert cuts == [(0, 8), (8, 4), (12, 8), (20, 8), (28, 9), (37, 1)]
    assert documents(blocks_of(tmp_path)) == [(i, f"row {i}") for i in range(38)]


def test_row_groups_are_cut_by_bytes_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard's limit counts the bytes of its text columns, not those of others."""
    other = {"other": [os.urandom(1000).hex() for _ in range(10)]}
    write_parquet(tmp_path / "a.parquet", *(texts(10 * i, 10) | other for i in range(3)), use_dictionary=False)
    one = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(0).total_uncompressed_size
    monkeypatch.setattr(base, "SHARD_BYTES", 2 * one + 20)
    assert [shard.n_rows for shard in plan_of(tmp_path).shards] == [20, 10]
    monkeypatch.setattr(base, "SHARD_BYTES", one // 2 + 20)
    assert [shard.n_rows for shard in plan_of(tmp_path).shards] == [5] * 6


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize(("limit", "value"), [("SHARD_ROWS", 3), ("SHARD_BYTES", 80)])
def test_lines_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: str, limit: str, value: int) -> None:
    """A JSONL file is cut at a shard's limits, and each shard read from its offset gives exactly its rows."""
    monkeypatch.setattr(base, limit, value)
    rows = [{"text": f"row {i} é"} for i in range(10)]
    write_jsonl(tmp_path / f"a.jsonl{packed}", *rows)
    shards = plan_of(tmp_path).shards
    assert [(shard.first_row, shard.n_rows) for shard in shards] == [(0, 3), (3, 3), (6, 3), (9, 1)]
    assert len({shard.offset for shard in shards}) == 4
    assert documents(blocks_of(tmp_path)) == [(i, f"row {i} é") for i in range(10)]


def test_line_over_a_shards_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line larger than a shard may be gets a shard of its own; no shard of no rows comes before it."""
    monkeypatch.setattr(base, "SHARD_BYTES", 50)
    write_jsonl(tmp_path / "a.jsonl", *({"text": text} for text in ("x" * 90, "a", "b", "y" * 90)))
    assert [shard.n_rows for shard in plan_of(tmp_path).shards] == [1, 2, 1]


def make_corpus(folder: Path) -> Path:
    """One source of each kind."""
    write_parquet(folder / "a.parquet", texts(0, 5))
    write_jsonl(folder / "b.jsonl", *({"text": f"row {i}"} for i in range(5)))
    return folder


def test_plan_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """Neither the folder's place nor the files' times are part of a plan or a shard's id."""
    here = plan_of(make_corpus(tmp_path / "here"))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    os.utime(tmp_path / "there" / "b.jsonl", (1, 1))
    there = plan_of(tmp_path / "there")
    assert (there.id, there.to_json()) == (here.id, here.to_json())
    assert [shard.path for shard in there.shards] != [shard.path for shard in here.shards]


def test_shard_ids_never_change(tmp_path: Path) -> None:
    """The same rows of the same job have this id in every version: else all results are made anew."""
    write_jsonl(tmp_path / "b.jsonl", b'{"text": "row 0"}', b'{"text": "row 1"}')
    (shard,) = plan_of(tmp_path).shards
    assert shard.id == "d3eea2dd1c2c77baff08"


@pytest.mark.parametrize("changed", ["content", "size", "name", "job", "limit"])
def test_plan_tells_what_differs(tmp_path: Path, changed: str) -> None:
    """Other bytes, another name, job hash or limit give the shard another id, and the plan too."""
    (before,) = (plan := plan_of(write_jsonl(tmp_path / "b.jsonl", {"text": "a"}, {"text": "b"}).parent)).shards
    rows = {"content": ["a", "c"], "size": ["a", "bb"]}.get(changed, ["a", "b"])
    (tmp_path / "b.jsonl").unlink()
    write_jsonl(tmp_path / ("c.jsonl" if changed == "name" else "b.jsonl"), *({"text": text} for text in rows))
    after = plan_of(tmp_path, job="new" if changed == "job" else "job", limit=1 if changed == "limit" else None)
    assert before.id != after.shards[0].id
    assert plan.id != after.id


def test_parquet_shard_tells_other_content(tmp_path: Path) -> None:
    """Another footer is another shard, though name and size are the same."""
    one = write_parquet(tmp_path / "1" / "a.parquet", texts(0, 5))
    two = write_parquet(tmp_path / "2" / "a.parquet", texts(1, 5))
    assert one.stat().st_size == two.stat().st_size
    assert plan_of(tmp_path / "1").shards[0].id != plan_of(tmp_path / "2").shards[0].id


def test_limit_cuts_the_last_shard(tmp_path: Path) -> None:
    """`--limit` keeps the first rows: whole shards keep their ids, the last one is cut and reads so."""
    full, limited = plan_of(make_corpus(tmp_path)), plan_of(tmp_path, limit=7)
    assert [shard.n_rows for shard in limited.shards] == [5, 2]
    assert limited.shards[0] == full.shards[0]
    assert documents(list(read_shard(limited.shards[1], TEXT, {}))) == [(0, "row 0"), (1, "row 1")]
    assert documents(list(read_shard(plan_of(tmp_path, limit=3).shards[0], TEXT, {})))[-1] == (2, "row 2")


def test_plan_file_round_trip(tmp_path: Path) -> None:
    """A plan read back from its JSON has the same id, and knows no place on a machine."""
    plan = plan_of(make_corpus(tmp_path))
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert (again.id, again.rows) == (plan.id, 10)
    assert str(tmp_path) not in json.dumps(plan.to_json())


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_source_without_rows(tmp_path: Path, name: str) -> None:
    """A source without rows is one shard of no rows, and no error."""
    file = tmp_path / name
    write_parquet(file, {"text": pa.array([], pa.string())}) if name == "a.parquet" else write_jsonl(file)
    assert [shard.n_rows for shard in plan_of(tmp_path).shards] == [0]
    assert documents(blocks_of(tmp_path)) == rejects(blocks_of(tmp_path)) == []


def test_only_footers_are_read(tmp_path: Path) -> None:
    """To plan a Parquet file takes a footer's reading, not that of its pages: a corpus may lie far away."""

    def read_so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    groups = ({"text": [os.urandom(1000).hex() for _ in range(1000)]} for _ in range(4))
    file = write_parquet(tmp_path / "a.parquet", *groups)
    begin = read_so_far()
    assert plan_of(tmp_path).rows == 4000
    assert read_so_far() - begin < file.stat().st_size / 10


def test_part_name_is_safe() -> None:
    """A part is named by its source's stem, made safe, its first row and its id."""
    fields = {"id": "ab", "first_row": 5, "n_rows": 1}
    assert shard_from_json({"source": "x/été 1.JSONL.gz", **fields}).part_name == "t_1-0000000005-ab.parquet"
    assert shard_from_json({"source": "…", **fields}).part_name == "source-0000000005-ab.parquet"


# ── columns ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
@pytest.mark.parametrize(
    ("columns", "missing", "flag"),
    [
        (Columns(("txt",)), "txt", "--text-column"),
        (Columns(("text",), "key"), "key", "--id-column"),
        (Columns(("text",), None, ("url",)), "url", "--keep"),
    ],
)
def test_missing_column(tmp_path: Path, name: str, columns: Columns, missing: str, flag: str) -> None:
    """A column that does not exist is named with those that do, and with the flag to use."""
    row = {"id": "a", "text": "x"}
    write_jsonl(tmp_path / name, row) if name == "a.jsonl" else write_parquet(
        tmp_path / name, {"id": ["a"], "text": ["x"]}
    )
    with pytest.raises(DataError) as error:
        plan_of(tmp_path, columns)
    assert str(error.value) == (f"{tmp_path / name} has no column {missing!r}. It has: id, text. Name one with {flag}.")


@pytest.mark.parametrize(
    ("columns", "values", "message"),
    [
        (TEXT, [1], "text column 'text' is of type int64, not text. Name another with --text-column."),
        (TEXT, [[1]], "text column 'text' is of type list<element: int64>, not text."),
        (TEXT, [[["a"]]], "text column 'text' is of type list<element: list<element: string>>, not text."),
        (TEXT, [{"a": "b"}], "text column 'text' is of type struct<a: string>, not text."),
        (Columns(("x",), "text"), [True], "id column 'text' is of type bool; ids are text or whole numbers or UUIDs."),
        (Columns(("x",), "text"), [Decimal("1.5")], "id column 'text' is of type decimal128(2, 1); ids are"),
        (Columns(("x",), "text"), [date(2024, 1, 1)], "id column 'text' is of type date32[day]; ids are"),
    ],
)
def test_column_of_unfit_type(tmp_path: Path, columns: Columns, values: list[Any], message: str) -> None:
    """Text columns hold text, ids text or whole numbers: the file and the type are named before any row is read."""
    write_parquet(tmp_path / "a.parquet", {"text": values, "x": ["x"]})
    with pytest.raises(DataError) as error:
        plan_of(tmp_path, columns)
    assert f"{tmp_path / 'a.parquet'}: {message}" in str(error.value)


def test_kept_column_of_two_types(tmp_path: Path) -> None:
    """A kept column that is of one type here and of another there is refused, both files named."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "n": [1]})
    write_parquet(tmp_path / "b.parquet", {"text": ["x"], "n": ["1"]})
    with pytest.raises(DataError, match=r"'n' is int64 in .*a.parquet but string in .*b.parquet"):
        blocks_of(tmp_path, Columns(("text",), None, ("n",)))


def test_a_column_named_twice(tmp_path: Path) -> None:
    """A Parquet file with two columns of the name asked for is refused by name: which one counts would be a guess."""
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet.*'text'"):
        plan_of(tmp_path)


def test_every_bad_file_is_named(tmp_path: Path) -> None:
    """One look at the input finds all unreadable files; the first ten are named in full."""
    for i in range(12):
        (tmp_path / f"{i:02}.parquet").write_bytes(b"garbage")
    with pytest.raises(DataError) as error:
        plan_of(tmp_path)
    *named, last = str(error.value).splitlines()
    assert [line.split(" ")[0] for line in named] == [str(tmp_path / f"{i:02}.parquet") for i in range(10)]
    assert last == "and 2 more"


def test_a_rare_json_column_is_found(tmp_path: Path) -> None:
    """A column that only a late line has is there; one that no line has is not."""
    write_jsonl(tmp_path / "a.jsonl", *[{"text": "x"}] * 150, {"text": "x", "title": "y"})
    assert plan_of(tmp_path, Columns(("text",), keep=("title",))).rows == 151
    with pytest.raises(DataError, match="has no column 'tit'"):
        plan_of(tmp_path, Columns(("text",), keep=("tit",)))


def test_a_column_of_nulls_fits_any_type(tmp_path: Path) -> None:
    """A Parquet column without a single value takes the type that the other files give it."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "year": pa.nulls(1), "title": pa.nulls(1)})
    write_parquet(tmp_path / "b.parquet", {"text": ["y"], "year": [7], "title": ["t"]})
    blocks = blocks_of(tmp_path, Columns(("title", "text"), keep=("year",)))
    assert [row for rows in blocks for row in rows.table.select(["text", "year"]).to_pylist()] == [
        {"text": "x", "year": None},
        {"text": "t\n\ny", "year": 7},
    ]
