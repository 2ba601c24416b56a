"""A folder as a store: names are taken once or replaced, and read by name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from embed_corpus.store.base import Key, Stat
from embed_corpus.store.local import Folder
from kit.part_blocks import failing, recorded


@pytest.fixture
def out(tmp_path: Path) -> Key:
    """An OUT that is not there yet."""
    return Key(str(tmp_path / "out"))


@pytest.fixture
def store(out: Key) -> Folder:
    """Its store."""
    return Folder(Path(out.root))


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A finished file."""
    (tmp_path / "made").write_bytes(b"made")
    return tmp_path / "made"


def content(store: Folder, key: Key) -> bytes:
    """What a file holds."""
    with store.open(key) as file:
        return bytes(file.read())


def test_a_key_is_read_as_a_path(out: Key, tmp_path: Path) -> None:
    """As text a name is what the user knows; its last part is that of the file."""
    assert str(out) == f"{tmp_path}/out"
    assert str(out / "data" / "a.parquet") == f"{tmp_path}/out/data/a.parquet"
    assert (out / "data" / "a.parquet").name == "a.parquet"


@pytest.mark.parametrize("durable", [True, False])
def test_a_name_is_taken_once(store: Folder, out: Key, tmp_path: Path, *, durable: bool) -> None:
    """The first file of a name wins and stays as it is, in a folder that need not be there."""
    for name, told in (("one", "won"), ("two", "lost")):
        (tmp_path / name).write_text(name)
        assert store.put_if_absent(tmp_path / name, out / "data" / "final", durable=durable) == told
    assert content(store, out / "data" / "final") == b"one"


@pytest.mark.parametrize("durable", [True, False])
def test_a_name_is_replaced(store: Folder, out: Key, tmp_path: Path, *, durable: bool) -> None:
    """What is put stands in the place of what had the name."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
        store.put(tmp_path / name, out / "_embed" / "note", durable=durable)
    assert content(store, out / "_embed" / "note") == b"two"


def test_what_may_be_lost_is_not_waited_for(
    store: Folder, out: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache and a claim cost no fsync."""
    events = recorded(monkeypatch)
    for name in ("a", "b"):
        (tmp_path / name).touch()
    store.put(tmp_path / "a", out / "a", durable=False)
    store.put_if_absent(tmp_path / "b", out / "b", durable=False)
    assert [event.split()[0] for event in events] == ["link"]


def test_advice_needs_no_links(store: Folder, out: Key, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a file system has no hard links, claims are made all the same, and still by the first alone."""
    monkeypatch.setattr(os, "link", failing(OSError(errno.EPERM, "Operation not permitted"), at=0))
    told = [store.put_if_absent(made, out / "claim", durable=False) for _ in range(2)]
    assert (told, content(store, out / "claim")) == (["won", "lost"], b"made")


def test_listed_deleted_and_looked_at(store: Folder, out: Key, tmp_path: Path) -> None:
    """A folder tells its names in order; what is not there is neither listed, nor seen, nor hard to delete."""
    assert (store.list(out / "data"), store.stat(out / "data" / "a")) == ([], None)
    store.delete(out / "data" / "a")
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
        store.put(tmp_path / name, out / "data" / name)
    assert store.list(out / "data") == ["a", "b"]
    stat = store.stat(out / "data" / "a")
    assert isinstance(stat, Stat)
    assert stat.size == 1
    store.delete(out / "data" / "a")
    assert store.list(out / "data") == ["b"]
    store.delete(out / "data")
    assert store.list(out) == []


def test_a_touch_tells_the_time(store: Folder, out: Key, made: Path) -> None:
    """A file that is in use is younger afterwards; one that is gone is not made by it."""
    os.utime(made, (1, 1))
    store.put(made, out / "a")
    before = store.stat(out / "a")
    store.touch(out / "a")
    after = store.stat(out / "a")
    assert before is not None
    assert after is not None
    assert before.changed_ns < after.changed_ns
    with pytest.raises(FileNotFoundError):
        store.touch(out / "b")


def test_missing_in_a_few_words(store: Folder, out: Key) -> None:
    """A file that is not there is told once, with its whole path."""
    with pytest.raises(FileNotFoundError) as error:
        store.open(out / "a")
    assert str(error.value) == f"[Errno 2] No such file or directory: '{out}/a'"


def test_room(store: Folder) -> None:
    """A disk tells what it still takes, before OUT is there."""
    room = store.room()
    assert room is not None
    assert room > 0
