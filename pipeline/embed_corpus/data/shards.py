"""The unit of work, of output and of resume."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

__all__ = ["Shard"]


_ODD = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Shard:
    """A row range of one source file: the unit of work, of output and of resume.

    Attributes:
        id: hex digest over relative path, size, content tag, range and job hash.
        source: path relative to its INPUT, with forward slashes.
        first_row: 0-based number of the first row in the source (JSONL: line number).
        n_rows: rows in the range.
        offset: JSONL only: byte at which `first_row` starts in the decompressed stream.
        path: where the source lies on this machine; no part of the identity.
        mtime_ns: its time of change when it was planned, 0 if unknown; no part either.
        superseded: marks of the rows whose id a later row has, which stands in their place (--on-duplicate last).
        stem: the source's file name without the ending that tells its format.
        format: the name of its format, by which it is read; no part of the identity.
    """

    id: str
    source: str
    first_row: int
    n_rows: int
    offset: int = 0
    path: str = ""
    mtime_ns: int = 0
    superseded: str = ""
    stem: str = ""
    format: str = ""

    @property
    def part_name(self) -> str:
        """Final file name of this shard's part: a function of the shard alone."""
        stem = _ODD.sub("_", self.stem).strip("._")
        return f"{stem[:80] or 'source'}-{self.first_row:010d}-{self.id}.parquet"

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the plan file: everything but what a machine or the table of formats adds."""
        # Not asdict, which copies each value: there may be 100,000 shards.
        fields: dict[str, Any] = {
            "id": self.id,
            "source": self.source,
            "first_row": self.first_row,
            "n_rows": self.n_rows,
            "offset": self.offset,
        }
        return fields | {"superseded": self.superseded} if self.superseded else fields
