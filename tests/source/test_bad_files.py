"""Which files may be left out, and which end a run however many may."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from embed_corpus.errors import DataError
from embed_corpus.source.discover import Found
from embed_corpus.source.formats.table import format_of
from embed_corpus.source.plan import inspect_good
from kit.source_files import PACKED, TEXT, texts, write_jsonl, write_parquet


def damaged_footer(file: Path) -> None:
    """Spoil the footer between its marks."""
    content = write_parquet(file, texts(0, 50)).read_bytes()
    begin = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    file.write_bytes(content[:begin] + b"\xff" * 64 + content[begin + 64 :])


def cut_parquet(file: Path) -> None:
    """Lose the end of a Parquet file."""
    file.write_bytes(write_parquet(file, texts(0, 50)).read_bytes()[:-100])


def cut_gzip(file: Path) -> None:
    """Lose the end of a packed file."""
    file.write_bytes(PACKED[".gz"](b'{"text": "fine"}\n' * 999)[:-9])


def wrong_kind(file: Path) -> None:
    """Write JSON where the name says something else."""
    file.write_text('{"text": "fine"}\n' * 9)


def nothing(file: Path) -> None:
    """An empty file."""
    file.touch()


def pointer(file: Path) -> None:
    """What a clone without Git LFS leaves."""
    file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 90868376\n")


def array(file: Path) -> None:
    """All rows on one line."""
    file.write_text('[{"text": "fine"}, {"text": "fine"}]')


def foreign_columns(file: Path) -> None:
    """A sound file without the text column."""
    write_parquet(file, {"other": ["fine"]})


def foreign_type(file: Path) -> None:
    """A sound file whose text column holds numbers."""
    write_parquet(file, {"text": [1.5]})


def gone(_: Path) -> None:
    """No file at all."""


def found_in(folder: Path, name: str, make: Callable[[Path], None]) -> list[Found]:
    """A good source and another."""
    good = write_jsonl(folder / "good.jsonl", {"text": "fine"})
    make(folder / name)
    return [Found(str(path), path.name, format_of(path) or "") for path in (good, folder / name)]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.parquet", damaged_footer),
        ("a.parquet", cut_parquet),
        ("a.parquet", wrong_kind),
        ("a.parquet", nothing),
        ("a.jsonl.gz", cut_gzip),
        ("a.jsonl.zst", wrong_kind),
        ("a.jsonl.gz", nothing),
        ("a.jsonl", pointer),
        ("a.jsonl.xz", pointer),
        ("a.parquet", pointer),
        ("a.json", pointer),
        ("a.jsonl", array),
    ],
)
def test_what_cannot_be_used_may_be_left_out(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    """A file of which nothing can be used is left out by name where one may be, and is an error where none may."""
    found = found_in(tmp_path, name, make)
    sources, left_out = inspect_good(found, TEXT, max_bad=1)
    assert [source.relative for source in sources] == ["good.jsonl"]
    assert list(left_out) == [str(tmp_path / name)]
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        inspect_good(found, TEXT)
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        inspect_good(found[1:], TEXT, max_bad=9)  # nothing else is there


@pytest.mark.parametrize("make", [foreign_columns, foreign_type, gone])
def test_what_is_no_damage_ends_the_run(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A sound file that does not fit, or one that vanished, is never left out."""
    with pytest.raises(DataError, match=r"a\.parquet"):
        inspect_good(found_in(tmp_path, "a.parquet", make), TEXT, max_bad=9)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_a_failing_disk_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """What the system says no to tells nothing about the file: it is never left out."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, "no")

    found = found_in(tmp_path, "a.parquet", cut_parquet)
    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(DataError, match=r"a\.parquet"):
        inspect_good(found, TEXT, max_bad=9)
