"""Keys of folders as kept columns."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_corpus.errors import DataError
from embed_corpus.source.columns import Columns
from embed_corpus.source.kept import kept_types, told_of_columns
from embed_corpus.source.partitions import folder_keys
from kit.source_files import blocks_of, documents, plan_of, sources_of, write_jsonl, write_parquet

ROW = {"text": ["x"]}


def keep(*names: str, types: bool = False, strict: bool = False, **chosen: str) -> Columns:
    """Columns with these kept."""
    return Columns(("text",), None, names, tuple(chosen.items()), strict, types)


def kept_in(folder: Path, columns: Columns) -> list[tuple[Any, ...]]:
    """The kept values of each document, in order."""
    values = [[value for _, value in documents(blocks_of(folder, columns), name)] for name in columns.keep]
    return list(zip(*values, strict=True))


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz"])
def test_keys_are_kept(tmp_path: Path, kind: str) -> None:
    """Each row of a file has the values of the folders it lies in, as text; names and values are decoded."""
    for lang, day in (("de", "2024-01-01"), ("a%20b%2F%C3%A9", "2024-01-02"), ("__HIVE_DEFAULT_PARTITION__", "x=y")):
        file = tmp_path / f"the%20lang={lang}" / f"day={day}" / "other" / f"p.{kind}"
        write_parquet(file, ROW) if kind == "parquet" else write_jsonl(file, {"text": "x"})
    assert kept_in(tmp_path, keep("the lang", "day")) == [
        (None, "x=y"),
        ("a b/é", "2024-01-02"),
        ("de", "2024-01-01"),
    ]
    assert kept_types(sources_of(tmp_path, keep("day")), keep("day")) == {"day": pa.string()}


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.text(min_size=1, max_size=9).filter(lambda t: "\0" not in t), min_size=1, max_size=3))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    """What pyarrow writes as folders, whatever the text, is kept as it was."""
    folder = tmp_path_factory.mktemp("hive")
    values = [v for v in values if len(quote(v, safe="")) < 200 and v.isprintable()]
    table = pa.table({"text": ["x"] * len(values), "k": values})
    ds.write_dataset(table, folder, format="parquet", partitioning=["k"], partitioning_flavor="hive")
    if values:
        assert sorted(kept_in(folder, keep("k"))) == sorted((v,) for v in values)


def test_keys_get_types_on_request(tmp_path: Path) -> None:
    """Whole numbers and dates where all values are such, text else; null counts for neither."""
    for n, (year, day, mixed) in enumerate([("2024", "2024-01-01", "1"), ("-7", "__HIVE_DEFAULT_PARTITION__", "a")]):
        write_parquet(tmp_path / f"year={year}" / f"day={day}" / f"mixed={mixed}" / f"{n}.parquet", ROW)
    columns = keep("year", "day", "mixed", types=True)
    assert kept_types(sources_of(tmp_path, columns), columns) == {
        "year": pa.int64(),
        "day": pa.date32(),
        "mixed": pa.string(),
    }
    assert kept_in(tmp_path, columns) == [(-7, None, "a"), (2024, dt.date(2024, 1, 1), "1")]
    assert kept_in(tmp_path, keep("year", year="double")) == [(-7.0,), (2024.0,)]
    with pytest.raises(DataError, match=r"--keep-type mixed=int64, .*mixed=a.*'a' is no int64"):
        kept_in(tmp_path, keep("mixed", mixed="int64"))


def test_numbers_too_large_are_text(tmp_path: Path) -> None:
    """A key that 64 bits cannot hold, or a day that no calendar has, makes text of all."""
    write_parquet(tmp_path / f"n={2**64}" / "day=2024-02-30" / "a.parquet", ROW)
    assert kept_in(tmp_path, keep("n", "day", types=True)) == [(str(2**64), "2024-02-30")]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_column_of_the_file_wins(tmp_path: Path, kind: str) -> None:
    """Where a file has the column itself, that counts and not the folder; the user is told once."""
    for folder in ("k=1", "k=2"):
        file = tmp_path / folder / f"a.{kind}"
        write_parquet(file, ROW | {"k": ["own"]}) if kind == "parquet" else write_jsonl(file, {"text": "x", "k": "own"})
    assert kept_in(tmp_path, keep("k")) == [("own",), ("own",)]
    (told,) = told_of_columns(sources_of(tmp_path, keep("k")), keep("k"))
    assert "column 'k' of the files counts, not the key of their folders" in told


def test_a_line_without_the_column_has_the_folders(tmp_path: Path) -> None:
    """A line that has no such key takes the folder's; null is a value. Numbers and text together are refused."""
    write_jsonl(tmp_path / "k=f" / "a.jsonl", {"text": "x", "k": "own"}, {"text": "x"}, {"text": "x", "k": None})
    assert kept_in(tmp_path, keep("k")) == [("own",), ("f",), (None,)]
    write_jsonl(tmp_path / "k=3" / "a.jsonl", {"text": "x", "k": 5}, {"text": "x"})
    (tmp_path / "k=f" / "a.jsonl").unlink()
    with pytest.raises(DataError, match=r"text, '3', in the folder names of .* but a whole number in .*row 0"):
        kept_in(tmp_path, keep("k"))
    assert kept_in(tmp_path, keep("k", types=True)) == [(5,), (3,)]


def test_files_outside_the_folders(tmp_path: Path) -> None:
    """A file beside the folders has null, which is told with a count; `--strict-schema` refuses it by name."""
    write_parquet(tmp_path / "k=1" / "a.parquet", ROW)
    write_parquet(tmp_path / "b.parquet", ROW)
    assert kept_in(tmp_path, keep("k")) == [(None,), ("1",)]
    (told,) = told_of_columns(sources_of(tmp_path, keep("k")), keep("k"))
    assert told == f"column 'k' is null in 1 of 2 files, which lack it, e.g. {tmp_path / 'b.parquet'}"
    with pytest.raises(DataError, match=r"b\.parquet has no column 'k'"):
        sources_of(tmp_path, keep("k", strict=True))


def test_a_key_above_the_input(tmp_path: Path) -> None:
    """Only folders below INPUT give keys, as they name documents; the message says what to name instead."""
    write_parquet(tmp_path / "k=1" / "day=2" / "a.parquet", ROW)
    assert kept_in(tmp_path / "k=1", keep("day")) == [("2",)]
    with pytest.raises(DataError, match="a folder above INPUT: name the folder above k=… as INPUT"):
        plan_of(tmp_path / "k=1", keep("k"))


@pytest.mark.parametrize("columns", [Columns(("k",)), Columns(("text",), "k")])
def test_keys_are_neither_text_nor_ids(tmp_path: Path, columns: Columns) -> None:
    """A key is the same for all rows of a file: as a text or an id it is refused."""
    write_parquet(tmp_path / "k=1" / "a.parquet", ROW)
    with pytest.raises(DataError, match="has no column 'k'"):
        plan_of(tmp_path, columns)


@pytest.mark.parametrize(("path", "says"), [("k=1/k=2/a.jsonl", "two values"), ("k=%ff/a.jsonl", "no UTF-8")])
def test_odd_folders_are_refused(path: str, says: str) -> None:
    """A key with two values, or bytes that are no text, is refused by the path."""
    with pytest.raises(DataError, match=f"{path.partition('/')[0]}.*{says}"):
        folder_keys(path)
    assert folder_keys("=x/plain/k=1/k=1/a=b.jsonl") == {"k": "1"}
