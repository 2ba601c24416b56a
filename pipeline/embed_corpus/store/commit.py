"""The one way anything in OUT becomes visible: written aside, synced, then linked into place."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import logging
import os
import uuid
from typing import TYPE_CHECKING, Literal

from embed_corpus.errors import OutputError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["advise", "alone_on", "attempt", "publish", "replace", "sweep"]

_NO_NOREPLACE = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1  # linux/fcntl.h, linux/fs.h
log = logging.getLogger("embed_corpus")

_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}


@contextlib.contextmanager
def attempt(folder: Path, name: str) -> Iterator[Path]:
    """Give a fresh file for one attempt, locked while it is being made and gone afterwards.

    Raises:
        OutputError: the file cannot be made or written (disk full, read-only, …).
    """
    path = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path, descriptor = _claimed(folder, name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)
    except OSError as error:
        raise OutputError(
            f"{error.filename or path}: {error.strerror or error}. Make room or access, then run the same line again."
        ) from error


def _claimed(folder: Path, name: str) -> tuple[Path, int]:
    """Make a fresh file and lock it; another one if a sweep got hold of it first. Nothing is waited for."""
    while True:
        path = folder / f"{name}.{uuid.uuid4().hex}"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            swept = os.fstat(descriptor).st_nlink == 0
        except BlockingIOError:
            path.unlink(missing_ok=True)
            swept = True
        except OSError:  # a file system without locks: then nothing is swept either
            swept = False
        if not swept:
            return path, descriptor
        os.close(descriptor)


def publish(made: Path, final: Path, *, alone: bool = False) -> Literal["won", "lost"]:
    """Give a finished file its final name, unless the name is taken: the first wins.

    The bytes are on disk before the name is, and the name before this returns: file and
    folder are fsynced. A failed fsync is never retried on the same file. By hard link; where a file system
    has none by a rename that replaces nothing; where it has neither, only for a run that is `alone` on OUT.

    Raises:
        StoreError: the file system can do neither, and the run is not known to be alone.
        OSError: any other failure; nothing became visible.
    """
    _sync(made)
    try:
        os.link(made, final)
    except FileExistsError:
        # Our own link may have succeeded behind a lost reply (NFS): then it is this very file.
        won = made.samefile(final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        won = _rename(made, final, alone=alone)
    else:
        won = True
    _sync(final.parent)
    return "won" if won else "lost"


def advise(made: Path, final: Path) -> Literal["won", "lost"]:
    """Do what `publish` does for a file that no result depends on: nothing is synced, and any file system will do."""
    try:
        os.link(made, final)
    except FileExistsError:
        return "lost"
    except OSError:  # no hard links here
        try:
            with final.open("xb") as file:
                file.write(made.read_bytes())
        except FileExistsError:
            return "lost"
    return "won"


def _rename(made: Path, final: Path, *, alone: bool) -> bool:
    """Move a file to its final name unless that is taken; tells whether it was free."""
    try:
        _rename_noreplace(made, final)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_NOREPLACE:
            raise
        if not alone:
            raise StoreError(
                f"{final.parent}: this file system can neither link a file to its final name nor rename it without "
                f"replacing another ({error.strerror}), so a part could be written twice. Put OUT on a local disk, "
                "NFS, Lustre or GPFS; or, if no other run ever writes to it, add --single-writer."
            ) from error
        if final.exists():
            return False
        made.rename(final)
    return True


def _rename_noreplace(made: Path, final: Path) -> None:
    """Call renameat2(2) with RENAME_NOREPLACE."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc has it since 2.28
    if renameat2 is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(final))
    if renameat2(_AT_FDCWD, os.fsencode(made), _AT_FDCWD, os.fsencode(final), _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(final))


@contextlib.contextmanager
def alone_on(folder: Path, *, wait: str = "") -> Iterator[None]:
    """Hold a folder against others that ask for the same, as far as the file system has locks.

    Raises:
        UsageError: another run holds it; unless it is to be waited for, which `wait` says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if not wait:
            os.close(descriptor)
            raise UsageError(f"{folder.parent}: another run with --single-writer is at work there.") from error
        log.info("%s", wait)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        pass  # no locks there: the user's word is all there is
    try:
        yield
    finally:
        os.close(descriptor)


def replace(made: Path, final: Path) -> None:
    """Put a finished file in the place of an older one; its bytes are on disk before its name is."""
    _sync(made)
    made.replace(final)
    _sync(final.parent)


def sweep(folder: Path) -> int:
    """Remove what killed attempts left behind; a live one holds its lock. Returns how many."""
    swept = 0
    if not folder.is_dir():
        return swept
    for path in folder.iterdir():
        with contextlib.suppress(OSError), path.open("r+b") as file:  # NFS locks only what is open for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            swept += 1
    return swept


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
