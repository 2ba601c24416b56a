"""One way to become visible, taken once."""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import replace
from pathlib import Path

import pytest

from embed_corpus.errors import OutputError, StoreError, UsageError
from embed_corpus.store import commit
from embed_corpus.store.commit import alone_on, attempt, publish, sweep
from embed_corpus.store.layout import Layout
from embed_corpus.store.notes import publish_json
from kit.part_blocks import (
    Killed,
    failing,
    left_in,
    recorded,
    six_rows,
    write,
)
from kit.places import at


def test_first_wins(tmp_path: Path) -> None:
    """A name is taken once: the second file of that name is lost, and the first stays as it is."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    assert publish(tmp_path / "one", tmp_path / "final") == "won"
    assert publish(tmp_path / "two", tmp_path / "final") == "lost"
    assert (tmp_path / "final").read_text() == "one"


def test_lost_reply_is_a_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that was made though its reply got lost (NFS) is ours, and is made durable like any other."""
    (tmp_path / "made").write_text("x")
    os.link(tmp_path / "made", tmp_path / "final")
    synced = recorded(monkeypatch)
    assert publish(tmp_path / "made", tmp_path / "final") == "won"
    assert synced[-1] == f"fsync {tmp_path}"


def test_bytes_before_name_before_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it has its name, and the folder before the commit is told."""
    (tmp_path / "made").write_text("x")
    (tmp_path / "data").mkdir()
    final = tmp_path / "data" / "final"
    events = recorded(monkeypatch)
    publish(tmp_path / "made", final)
    assert events == [f"fsync {tmp_path / 'made'}", f"link {final}", f"fsync {tmp_path / 'data'}"]


NO_LINKS = [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV]


@pytest.mark.parametrize("number", NO_LINKS)
def test_no_hard_links(layout: Layout, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Without hard links a part is renamed, replacing nothing: the same bytes, and the first wins."""
    monkeypatch.setattr(os, "link", failing(OSError(number, os.strerror(number)), at=0))
    write(layout, six_rows())
    before = inodes(layout)
    write(layout, six_rows())
    assert inodes(layout) == before != []
    assert left_in(at(layout.tmp)) == []


@pytest.fixture
def poor_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has neither hard links nor RENAME_NOREPLACE."""
    monkeypatch.setattr(os, "link", failing(OSError(errno.EPERM, "Operation not permitted"), at=0))
    monkeypatch.setattr(commit, "_rename_noreplace", failing(OSError(errno.EINVAL, "Invalid argument"), at=0))


@pytest.mark.usefixtures("poor_store")
def test_no_atomic_publishing(layout: Layout) -> None:
    """A file system with neither ends the run with exit code 78 and the way out, and nothing is visible or left."""
    with pytest.raises(StoreError, match=r"out/_embed/rejects: .*can neither link.*--single-writer") as error:
        write(layout, six_rows())
    assert error.value.exit_code == 78
    assert (layout.parts(), left_in(at(layout.tmp))) == ([], [])


@pytest.mark.usefixtures("poor_store")
def test_single_writer(layout: Layout) -> None:
    """A run that is alone on OUT renames there, and still replaces nothing."""
    alone = replace(layout, alone=True)
    write(alone, six_rows())
    before = inodes(alone)
    write(alone, six_rows())
    assert inodes(alone) == before != []


def inodes(layout: Layout) -> list[tuple[int, int]]:
    """Inode and time of every part; being read is no change."""
    found = [at(layout.data / name).stat() for name in layout.parts()]
    return [(stat.st_ino, stat.st_mtime_ns) for stat in found]


def test_alone_on(tmp_path: Path) -> None:
    """A second run that says it is the only one is refused while the first is at work."""
    with alone_on(tmp_path / "_embed"), pytest.raises(UsageError, match="another run"), alone_on(tmp_path / "_embed"):
        pass
    with alone_on(tmp_path / "_embed"):
        pass


def test_no_hard_links_for_root_squash(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own PermissionError for EPERM is told from a lack of access: it is the store's, 78."""
    monkeypatch.setattr(os, "link", failing(PermissionError(errno.EPERM, "Operation not permitted")))
    monkeypatch.setattr(commit, "_rename_noreplace", failing(OSError(errno.EINVAL, "Invalid argument")))
    with pytest.raises(StoreError):
        publish_json(layout, layout.job, {})
    assert left_in(at(layout.meta)) == ["tmp"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Killed(), ValueError("ours")])
def test_attempt_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    """An attempt that fails, however, leaves no file; a failure to write is told as such, with a remedy."""
    told = OutputError if isinstance(error, OSError) else type(error)

    def fail() -> None:
        with attempt(tmp_path / "tmp", "a") as made:
            made.write_text("half")
            raise error

    with pytest.raises(told) as caught:
        fail()
    assert left_in(tmp_path / "tmp") == []
    assert told is not OutputError or "No space left on device. Make room or access" in str(caught.value)


def test_attempt_is_gone_after_success(tmp_path: Path) -> None:
    """What was published keeps its bytes when the attempt's own name goes."""
    with attempt(tmp_path / "tmp", "a") as made:
        made.write_text("whole")
        assert publish(made, tmp_path / "a") == "won"
    assert left_in(tmp_path / "tmp") == []
    assert (tmp_path / "a").read_text() == "whole"


def test_sweep(tmp_path: Path) -> None:
    """What killed attempts left is removed; a live attempt is left alone; a missing folder is none."""
    assert sweep(tmp_path / "gone") == 0
    with attempt(tmp_path, "live") as live:
        (tmp_path / "dead").write_text("half")
        assert sweep(tmp_path) == 1
        assert left_in(tmp_path) == [live.name]


# ── parts ─────────────────────────────────────────────────────────────────────────────────


def test_swept_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that a sweep takes between its making and its lock is made anew; nobody waits for a sweep."""
    held, make = [], os.open

    def opened(path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = make(path, flags, mode)
        if flags & os.O_CREAT and len(held) < 2:
            held.append(make(path, os.O_RDONLY))
            fcntl.flock(held[-1], fcntl.LOCK_EX)
            if len(held) == 1:  # that sweep comes to its end, the other is stopped in it
                Path(path).unlink()
                os.close(held[-1])
        return descriptor

    monkeypatch.setattr(os, "open", opened)
    with attempt(tmp_path, "a") as made:
        assert left_in(tmp_path) == [made.name]
        assert sweep(tmp_path) == 0
    os.close(held[1])
    assert (len(held), left_in(tmp_path)) == (2, [])
