"""What OUT is to the rest of the package: files under names, each name taken once or replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

__all__ = ["Key", "Stat", "Store"]


@dataclass(frozen=True, slots=True)
class Key:
    """The name of a file, or of a folder of files, in a store; as text it is what the user knows it by.

    `root` is OUT as the user sees it, `path` what follows: `data/a-0-5ha4d.parquet`; empty for OUT itself.
    """

    root: str
    path: str = ""

    def __truediv__(self, name: str) -> Key:
        return Key(self.root, f"{self.path}/{name}" if self.path else name)

    def __str__(self) -> str:
        return f"{self.root}/{self.path}" if self.path else self.root

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Stat:
    """Bytes of a file, and when it was last put or touched: in nanoseconds, by the clock of the store."""

    size: int
    changed_ns: int


class Store(Protocol):
    """Where OUT lies: a folder (`store/local.py`), one day a bucket.

    The first five are what any store of files can do. The others are what these are too narrow for: what a file
    is without reading it; a part set aside, which nobody may take for gone or have twice; claims that stay alive
    without being written anew; FAISS and Arrow, which map files of this machine; a disk that may be too small.

    Errors are `OSError`, as of files; `FileNotFoundError` where a name is not taken.
    """

    def open(self, key: Key) -> pa.NativeFile:
        """Open a file for reading, at any place in it."""

    def put(self, made: Path, key: Key, *, durable: bool = True) -> None:
        """Give a finished file of this machine a name, in the place of what had it; `made` may be gone afterwards.

        Readers see the old or the new. Unless `durable`, it is one that a power cut may take: a cache, a report.
        """

    def put_if_absent(self, made: Path, key: Key, *, durable: bool = True) -> Literal["won", "lost"]:
        """Give a finished file of this machine a name, unless it is taken: of several, the first wins.

        Unless `durable`, it is advice: a power cut may take it, and a poor file system may show it half-written.

        Raises:
            StoreError: the store cannot tell who was first.
        """

    def list(self, folder: Key) -> Sequence[str]:
        """Return the names of what lies right in a folder, sorted; none if it is not there. No file is opened."""

    def delete(self, key: Key) -> None:
        """Remove a file, or all that lies below a folder; what is not there need not be."""

    def stat(self, key: Key) -> Stat | None:
        """Return what is known of a file without reading it; None if it is not there."""

    def move(self, key: Key, to: Key) -> None:
        """Give a file another name, in the place of what had that."""

    def touch(self, key: Key) -> None:
        """Say of a file that it is in use now."""

    def local(self, key: Key) -> Path:
        """Return the place on this machine that goes with a name.

        Of a file that is there, it holds its content: the file itself, or a copy that is fetched. Else, and for a
        folder, it is where files are made that are put under their names later; what lies there is not in the store
        until then, as far as anyone else is concerned. Files of one folder come to lie in one folder.
        """

    def room(self) -> int | None:
        """Return how many bytes it can still take; None if nobody can tell."""
