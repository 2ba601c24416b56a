"""Tell how far a result is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embed_corpus.data import Counts
from embed_corpus.index.manifest import read_manifest
from embed_corpus.job.output import open_output
from embed_corpus.report.summary import bad_file_lines, count_lines, unknown_line
from embed_corpus.sink.rejects import read_rejects
from embed_corpus.sink.snapshot import entries, latest_snapshot

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from embed_corpus.job.output import Opened

__all__ = ["IndexState", "Status", "rejects", "status"]


@dataclass(frozen=True, slots=True)
class IndexState:
    """An index that is there: its FAISS type, its rows, of which snapshot; `current`: of the parts as they are now."""

    type: str
    rows: int
    snapshot: int
    current: bool


@dataclass(frozen=True, slots=True)
class Status:
    """How far an OUT is.

    Attributes:
        output: OUT.
        parts, planned: parts of the current plan that are there, and shards of the plan.
        rows, rows_left: rows of the plan, and those of shards without a part.
        counts: counts over these parts.
        bad_files: source files left out because they cannot be read, each with the reason.
        snapshot: number of the latest snapshot; None if there is none yet.
        index: None if there is none.
        stale: parts that are not of the current plan.
    """

    output: Path
    parts: int
    planned: int
    rows: int
    rows_left: int
    counts: Counts
    bad_files: dict[str, str]
    snapshot: int | None
    index: IndexState | None
    stale: int

    def lines(self) -> list[str]:
        """Return what the command prints."""
        lines = [
            f"{self.parts} of {self.planned} parts done, {self.rows_left:,} of {self.rows:,} rows left",
            *count_lines(self.counts),
            *filter(None, [unknown_line(self.counts)]),
            *bad_file_lines(self.bad_files),
            f"snapshot: {self.snapshot or 'none yet'}",
        ]
        if self.index:
            stale = f", of snapshot {self.index.snapshot}: out of date, see `embed-corpus index`"
            lines.append(
                f"index: {self.index.type} of {self.index.rows:,} vectors{'' if self.index.current else stale}"
            )
        else:
            lines.append("index: none")
        if self.stale:
            lines.append(f"{self.stale} parts are not of the current plan (--prune sets them aside)")
        return lines


def status(out: str | os.PathLike[str]) -> Status:
    """Tell how far an OUT is: parts done and left, rows, rejects. Takes no lock.

    Raises:
        UsageError: the folder is no OUT.
    """
    opened = open_output(Path(out))
    layout, plan = opened.layout, opened.plan
    present = set(layout.parts())
    done = [shard for shard in plan.shards if shard.part_name in present]
    snapshot = latest_snapshot(layout)
    return Status(
        output=Path(out),
        parts=len(done),
        planned=len(plan.shards),
        rows=plan.rows,
        rows_left=plan.rows - sum(shard.n_rows for shard in done),
        counts=sum((part.counts for part in entries(layout, [shard.part_name for shard in done])), start=Counts()),
        bad_files=opened.last_run.bad_files,
        snapshot=snapshot.number if snapshot else None,
        index=_index_of(opened, {part.name: part.sha256 for part in snapshot.parts} if snapshot else None),
        stale=len(present - {shard.part_name for shard in plan.shards}),
    )


def _index_of(opened: Opened, parts: dict[str, str] | None) -> IndexState | None:
    index = read_manifest(opened.layout)
    if not index:
        return None
    return IndexState(index.type, index.rows, index.snapshot, parts is not None and index.checksums == parts)


def rejects(out: str | os.PathLike[str]) -> Iterator[dict[str, Any]]:
    """Yield every rejected row of an OUT: its source, row, reason, detail and doc_id.

    Raises:
        UsageError: the folder is no OUT. OutputError: a record is damaged.
    """
    opened = open_output(Path(out))
    present = set(opened.layout.parts())
    for shard in opened.plan.shards:
        if shard.part_name in present:
            yield from read_rejects(opened.layout, shard.id)
