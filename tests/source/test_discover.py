"""From INPUT to source files."""

from __future__ import annotations

from pathlib import Path

import pytest

from embed_corpus.errors import DataError
from embed_corpus.source.discover import discover
from embed_corpus.source.formats.table import format_of
from kit.source_files import (
    files_in,
    write_jsonl,
)


def test_folder_is_searched_recursively(tmp_path: Path) -> None:
    """Every file of a known kind below a folder is found, sorted, named by its path relative to the folder."""
    for name in ("b.PARQUET", "a.jsonl", "sub/deep/c.ndjson.gz", "sub/d.jsonl.zst"):
        write_jsonl(tmp_path / name)
    assert files_in(tmp_path) == ["a.jsonl", "b.PARQUET", "sub/d.jsonl.zst", "sub/deep/c.ndjson.gz"]


@pytest.mark.parametrize("name", ["_part.jsonl", ".a.jsonl", "_logs/0.jsonl", ".git/a.jsonl", "x/a.jsonl.crc"])
def test_hidden_names_are_skipped_silently(tmp_path: Path, name: str) -> None:
    """Markers, logs and checksums of other tools are neither read nor named."""
    write_jsonl(tmp_path / name)
    write_jsonl(tmp_path / "a.jsonl")
    found, left_out = discover([str(tmp_path)], tmp_path / "out")
    assert ([file.relative for file in found], left_out) == (["a.jsonl"], {})


@pytest.mark.parametrize("pattern", ["", "*", "**/*.*"])
def test_out_inside_input_is_left_out(tmp_path: Path, pattern: str) -> None:
    """What an earlier run wrote is never read as input, however INPUT names its folder."""
    write_jsonl(tmp_path / "sub" / "a.jsonl")
    write_jsonl(tmp_path / "out" / "data" / "part.jsonl")
    assert files_in(tmp_path / pattern, out=tmp_path / "out") == ["sub/a.jsonl"]


@pytest.mark.parametrize(("folder", "out"), [("in", "link/out"), ("link", "in/out")])
def test_out_is_recognised_through_a_link(tmp_path: Path, folder: str, out: str) -> None:
    """OUT is still OUT where it or INPUT is named through a symbolic link."""
    write_jsonl(tmp_path / "in" / "a.jsonl")
    write_jsonl(tmp_path / "in" / "out" / "part.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert files_in(tmp_path / folder, out=tmp_path / out) == ["a.jsonl"]


def test_order_is_that_of_relative_paths(tmp_path: Path) -> None:
    """Sources are in the order of their relative paths, wherever their folders lie: so is the plan."""
    write_jsonl(tmp_path / "z" / "a.jsonl")
    write_jsonl(tmp_path / "b" / "b.jsonl")
    assert files_in(tmp_path / "b", tmp_path / "z") == ["a.jsonl", "b.jsonl"]


def test_other_kinds_are_named(tmp_path: Path) -> None:
    """Files of kinds that are not read are handed back, so that the run can say so."""
    write_jsonl(tmp_path / "a.jsonl")
    (tmp_path / "b.xlsx").write_text("x")
    assert discover([str(tmp_path)], tmp_path / "out")[1] == {str(tmp_path / "b.xlsx"): ".xlsx"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("[ab].jsonl", ["a.jsonl", "b.jsonl"]),
        ("su*/", ["sub/c.jsonl"]),
        ("**/c.jsonl", ["sub/c.jsonl"]),
        ("sub/*.jsonl", ["c.jsonl"]),
    ],
)
def test_glob(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    """A pattern's files are named relative to its part before the first wildcard."""
    for name in ("a.jsonl", "b.jsonl", "sub/c.jsonl", "c.xlsx"):
        write_jsonl(tmp_path / name)
    assert files_in(f"{tmp_path}/{pattern}") == expected


def test_glob_skips_hidden_folders(tmp_path: Path) -> None:
    """A folder that a pattern matches is no reason to read a log of another tool."""
    write_jsonl(tmp_path / "_logs" / "0.jsonl")
    write_jsonl(tmp_path / "a" / "a.jsonl")
    assert files_in(f"{tmp_path}/*") == ["a/a.jsonl"]


def test_glob_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quoted pattern may begin with `~`, as a folder may."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write_jsonl(tmp_path / "c" / "a.jsonl")
    assert files_in("~/c") == files_in("~/c/*.jsonl") == ["a.jsonl"]


def test_name_with_wildcard_characters(tmp_path: Path) -> None:
    """A file that exists under the very name is no pattern."""
    assert files_in(write_jsonl(tmp_path / "a[1].jsonl")) == ["a[1].jsonl"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "does not exist: check the path"),
        ("*.parquet", "matches nothing: check the pattern"),
        ("table.xlsx", "is of a kind that is not read. Read are .parquet, .pq, .*--format"),
        ("empty", "holds no source file. Read are .parquet"),
        ("others", r"holds no source file \(1 files of other kinds, e.g. .*readme.txt\)"),
    ],
)
def test_nothing_to_read(tmp_path: Path, name: str, message: str) -> None:
    """An INPUT that gives no source is named, with what can be done."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "readme.txt").touch()
    (tmp_path / "table.xlsx").touch()
    with pytest.raises(DataError, match=message) as error:
        files_in(tmp_path / name)
    assert repr(str(tmp_path / name)) in str(error.value)


def test_two_sources_of_one_name(tmp_path: Path) -> None:
    """Two INPUTs with a file of the same relative path are refused: ids are made of that path."""
    write_jsonl(tmp_path / "1" / "a.jsonl")
    write_jsonl(tmp_path / "2" / "a.jsonl")
    with pytest.raises(DataError, match=r"share the relative path 'a.jsonl': .*1/a.jsonl and .*2/a.jsonl.*common"):
        files_in(tmp_path / "1", tmp_path / "2")


def test_same_input_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file named twice, however spelt, is read once."""
    file = write_jsonl(tmp_path / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert files_in(tmp_path, tmp_path, file, f"{tmp_path}/*.jsonl") == ["a.jsonl"]
    assert files_in("a.jsonl", file) == ["a.jsonl"]


def test_format_of() -> None:
    """The ending tells the format, whatever its case; what a writer puts behind `.parquet` says how its pages are."""
    names = ["A.Parquet", "a.jsonl", "a.NDJSON.GZ", "a.jsonl.zst", "a.snappy.parquet", "a.parquet.gzip", "jsonl", "a"]
    formats = ["parquet", "jsonl", "jsonl", "jsonl", "parquet", "parquet", None, None]
    assert [format_of(name) for name in names] == formats


# ── cuts and plans ────────────────────────────────────────────────────────────────────────


def test_a_file_that_two_inputs_hold(tmp_path: Path) -> None:
    """One file under two names would be embedded twice: it is refused, naming both."""
    write_jsonl(tmp_path / "sub" / "x.jsonl", {"text": "x"})
    with pytest.raises(DataError, match=r"in the input twice, as 'sub/x\.jsonl' and as 'x\.jsonl'"):
        files_in(tmp_path, tmp_path / "sub")


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    """A link to a folder is followed; one that leads back up is not followed for ever."""
    write_jsonl(tmp_path / "lake" / "x.jsonl", {"text": "x"})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "lake")
    (tmp_path / "lake" / "up").symlink_to(tmp_path / "in")
    assert files_in(tmp_path / "in") == ["linked/x.jsonl"]
