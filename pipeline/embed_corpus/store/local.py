"""OUT as a folder of a file system."""

from __future__ import annotations

import os
import shutil
import stat as modes
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from embed_corpus.store.base import Stat
from embed_corpus.store.commit import advise, publish, replace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from embed_corpus.store.base import Key

__all__ = ["Folder", "is_open_to_all"]


@dataclass(frozen=True, slots=True)
class Folder:
    """The store that is a folder; `alone`: no other run writes there, says the user.

    What is made lies in it from the start, so that a name can be given by a link, without copying a byte.
    """

    root: Path
    alone: bool = False

    def open(self, key: Key) -> pa.NativeFile:
        """See `Store`."""
        import pyarrow as pa

        path = str(self.local(key))
        try:
            return pa.OSFile(path)
        except OSError as error:  # Arrow says it at length, and twice
            if error.errno is None:
                raise
            raise OSError(error.errno, os.strerror(error.errno), path) from error

    def put(self, made: Path, key: Key, *, durable: bool = True) -> None:
        """See `Store`."""
        final = self.local(key)
        final.parent.mkdir(parents=True, exist_ok=True)
        replace(made, final) if durable else made.replace(final)

    def put_if_absent(self, made: Path, key: Key, *, durable: bool = True) -> Literal["won", "lost"]:
        """See `Store`."""
        final = self.local(key)
        final.parent.mkdir(parents=True, exist_ok=True)
        return publish(made, final, alone=self.alone) if durable else advise(made, final)

    def list(self, folder: Key) -> Sequence[str]:
        """See `Store`."""
        path = self.local(folder)
        try:
            return sorted(os.listdir(path))  # noqa: PTH208  # names are all that is asked for
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            if path.exists():
                raise
            return []  # a file stands where a folder above it would

    def delete(self, key: Key) -> None:
        """See `Store`."""
        path = self.local(key)
        try:
            path.unlink(missing_ok=True)
        except IsADirectoryError:
            shutil.rmtree(path, ignore_errors=True)

    def stat(self, key: Key) -> Stat | None:
        """See `Store`."""
        with suppress(FileNotFoundError, NotADirectoryError):
            stat = self.local(key).stat()
            return Stat(stat.st_size, stat.st_mtime_ns)
        return None

    def move(self, key: Key, to: Key) -> None:
        """See `Store`."""
        final = self.local(to)
        final.parent.mkdir(parents=True, exist_ok=True)
        self.local(key).replace(final)

    def touch(self, key: Key) -> None:
        """See `Store`."""
        os.utime(self.local(key))

    def local(self, key: Key) -> Path:
        """See `Store`."""
        return self.root / key.path

    def room(self) -> int | None:
        """See `Store`."""
        there = next(path for path in (self.root, *self.root.parents) if path.exists())
        total, _, free = shutil.disk_usage(there)
        return free if total else None


def is_open_to_all(folder: Path) -> bool:
    """Tell whether a folder is there, and every user of this machine may write to it."""
    return folder.exists() and bool(folder.stat().st_mode & modes.S_IWOTH)
