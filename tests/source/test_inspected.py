"""Source files that have not changed are not opened again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from embed_corpus.errors import DataError
from embed_corpus.source import inspected as known_module
from embed_corpus.source.columns import Columns
from embed_corpus.source.discover import discover
from embed_corpus.source.formats.base import Source
from embed_corpus.source.inspected import read_known, to_json
from embed_corpus.source.plan import inspect_all
from embed_corpus.store.layout import Layout
from embed_corpus.store.notes import replace_json
from kit.places import at
from kit.source_files import write_jsonl, write_parquet

COLUMNS = Columns(("text",), "id", ("tags", "when"))
LATER = 1 << 62


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Parquet file with kept columns of several types, and a JSONL file."""
    when = pa.array([1, 2], pa.timestamp("us", tz="UTC"))
    tags = pa.array([["a"], []], pa.list_(pa.dictionary(pa.int8(), pa.string())))
    write_parquet(tmp_path / "in" / "a.parquet", {"id": ["1", "2"], "text": ["x", "y"], "tags": tags, "when": when})
    write_jsonl(tmp_path / "in" / "b.jsonl", {"id": "3", "text": "z", "tags": [], "when": "now"})
    return tmp_path / "in"


def look(folder: Path, layout: Layout) -> list[Source]:
    """Inspect a folder by what the note says, and note what is seen, long after."""
    known = read_known(layout, COLUMNS)
    sources = inspect_all(discover([str(folder)], folder / "out")[0], COLUMNS, known)
    replace_json(layout, layout.sources, to_json(sources, COLUMNS, LATER))
    return sources


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are inspected."""
    names: list[str] = []
    inspect = known_module.inspect

    def noted(found: object, columns: Columns) -> Source:
        names.append(Path(found.path).name)
        return inspect(found, columns)

    monkeypatch.setattr(known_module, "inspect", noted)
    return names


def test_what_is_known_is_not_opened_and_is_the_same(folder: Path, layout: Layout, opened: list[str]) -> None:
    first = look(folder, layout)
    assert opened == ["a.parquet", "b.jsonl"]
    assert look(folder, layout) == first
    assert len(opened) == 2


def test_a_file_of_another_time_or_size_is_opened(folder: Path, layout: Layout, opened: list[str]) -> None:
    look(folder, layout)
    stat = (folder / "a.parquet").stat()
    os.utime(folder / "a.parquet", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    look(folder, layout)
    assert opened[2:] == ["a.parquet"]
    stat = (folder / "b.jsonl").stat()
    write_jsonl(folder / "b.jsonl", {"id": "3", "text": "zz", "tags": [], "when": "now"})
    os.utime(folder / "b.jsonl", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    look(folder, layout)
    assert opened[3:] == ["b.jsonl"]


def test_a_file_that_vanished_is_told_as_ever(folder: Path, layout: Layout) -> None:
    look(folder, layout)
    found = discover([str(folder)], folder / "out")[0]
    (folder / "b.jsonl").unlink()
    with pytest.raises(DataError, match=r"b\.jsonl"):
        inspect_all(found, COLUMNS, read_known(layout, COLUMNS))


def test_a_file_that_may_still_change_is_not_noted(folder: Path) -> None:
    """Its time may stay the same when it changes within the clock's grain."""
    sources = inspect_all(discover([str(folder)], folder / "out")[0], COLUMNS)
    assert to_json(sources, COLUMNS)["sources"] == {}
    assert len(to_json(sources, COLUMNS, LATER)["sources"]) == 2


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"for": 1}', '{"sources": {}}', "\x00"])
def test_a_damaged_note_is_none(folder: Path, layout: Layout, opened: list[str], note: str) -> None:
    at(layout.meta).mkdir(parents=True)
    at(layout.sources).write_text(note)
    look(folder, layout)
    assert len(opened) == 2


def test_damaged_entries_are_looked_at_again(folder: Path, layout: Layout, opened: list[str]) -> None:
    first = look(folder, layout)
    content = json.loads(at(layout.sources).read_text())
    a, b = content["sources"].values()
    a["types"], b["cuts"] = "AAAA", [["x"]]
    at(layout.sources).write_text(json.dumps(content))
    assert look(folder, layout) == first
    assert len(opened) == 4


def test_a_note_for_other_columns_is_none(folder: Path, layout: Layout) -> None:
    look(folder, layout)
    assert read_known(layout, COLUMNS)
    assert not read_known(layout, Columns(("text",), "id"))
