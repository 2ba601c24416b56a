"""What a format is asked, and what it gives: the seam between the files of INPUT and everything that reads rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from embed_corpus.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from embed_corpus.data import Reject, Shard
    from embed_corpus.source.columns import Columns
    from embed_corpus.source.discover import Found

__all__ = [
    "SHARD_BYTES",
    "SHARD_ROWS",
    "BlockSize",
    "Cut",
    "Format",
    "RawRows",
    "Source",
    "Span",
    "UnreadableError",
    "Wanted",
    "reason_of",
    "refused",
]

SHARD_BYTES = 64 << 20
"""Bytes of text (Parquet) or of lines (JSONL) that one shard holds at most."""
SHARD_ROWS = 50_000
"""Rows that one shard holds at most."""

Span = tuple[int, int]
"""Where bytes lie in a file: where they begin, how many they are."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A row range: first row, rows, and (formats of lines) the byte where it starts."""

    first_row: int
    n_rows: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A source file that can be read: what it is, and the row ranges its shards will have.

    `tag` is a hash of the Parquet footer, or of a JSONL file's decompressed bytes;
    `keep_types` the types of the kept columns where the file tells them (Parquet);
    `ctime_ns` the time of its last change of any kind, 0 if unknown; `kinds` the kinds of a kept column's values
    (JSONL, see `kinds.NAMES`); `lacks` are text and kept columns that it has not, and `names` those that it has, if it
    lacks any; `from_folder` are kept columns that (in some rows) are the key of a folder; `format` is its name in the
    table of formats.
    """

    path: str
    relative: str
    size: int
    mtime_ns: int
    tag: str
    cuts: tuple[Cut, ...]
    keep_types: dict[str, pa.DataType] = field(default_factory=dict)
    ctime_ns: int = 0
    kinds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    from_folder: tuple[str, ...] = ()
    format: str = ""


@dataclass(frozen=True, slots=True)
class BlockSize:
    """Rows, and bytes of text, that go through the stages together; one huge row makes a block of its own."""

    n_rows: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class RawRows:
    """Rows as they stand in the source; bad lines aside.

    Attributes:
        texts: each text column; may hold bytes that are no UTF-8.
        ids: of any type, None if no id is read.
        kept: each kept column in its type.
        rows: int64[n], the row number of each in the source.
        rejects: rows of the same range that could not be read.
    """

    texts: list[pa.StringArray]
    ids: pa.Array | None
    kept: list[pa.Array]
    rows: NDArray[np.int64]
    rejects: list[Reject]


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """Some rows of a shard.

    Attributes:
        shard: where they lie.
        rows: int64[n], ascending, counted from the shard's first row.
        numbers: int64[n], what each is called by whoever asks.
    """

    shard: Shard
    rows: NDArray[np.int64]
    numbers: NDArray[np.int64]

    @property
    def is_whole(self) -> bool:
        """Whether these are all rows of the shard."""
        return len(self.rows) == self.shard.n_rows


class Format(Protocol):
    """One format; a module with these functions is one. The table has what is known of it before a file is opened."""

    def inspect(self, found: Found, columns: Columns) -> Source:
        """Look at a file once: check the columns, and cut it into row ranges.

        Raises:
            UnreadableError: nothing in the file can be used.
            DataError: a column is missing or of an unfit type.
            OSError, pa.ArrowException, UnicodeDecodeError: the file cannot be read; whoever asks adds its name.
        """

    def rows(
        self, shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], size: BlockSize
    ) -> Iterator[RawRows]:
        """Yield every row of a shard once, in source order, as a row or as a reject.

        Raises:
            OSError, pa.ArrowException, KeyError: the file can no longer be read; KeyError: without that column.
        """

    def places(self, parts: Sequence[Wanted]) -> Iterator[Wanted]:
        """Divide rows wanted of one file into stretches that are cheap to read from the first wanted row to the last.

        A stretch may be of another file with the same rows, which is gone when the next one is asked for.
        """

    def spans(self, path: str, columns: Columns, begin: int, stop: int) -> Iterator[tuple[int, tuple[Span, ...]]]:
        """Yield the rows of each group that holds some of a range, and where the bytes of its columns lie.

        Nothing where the tag that `inspect` gives covers all bytes of a file.
        """

    def records(self, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every row of a small file as an object with all its columns, and how its place is called.

        Raises:
            DataError: a row is none. OSError, pa.ArrowException: the file cannot be read.
        """


class UnreadableError(DataError):
    """A file that is not what its name says, or no more: damaged, cut short, or hostile.

    Not one that the system does not let us read: that says nothing about the file.
    """


def refused(found: Found, why: str) -> str:
    """Say that a file cannot be read, why, and what to do."""
    return f"{found.path} cannot be read: {why}. Replace the file, or take it out of INPUT."


def reason_of(error: Exception) -> str:
    """Return the first line of what an error says, as a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ") + "."
