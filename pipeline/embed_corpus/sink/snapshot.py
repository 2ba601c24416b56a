"""Snapshots: numbered, immutable lists of the parts that make one consistent result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from embed_corpus.data import Counts
from embed_corpus.errors import OutputError
from embed_corpus.sink.readback import cached_stats, part_stats
from embed_corpus.store.notes import publish_json, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embed_corpus.store.layout import Layout

__all__ = ["PartEntry", "Snapshot", "entries", "entry_of", "latest_snapshot", "listed_parts", "publish_snapshot"]


@dataclass(frozen=True, slots=True)
class PartEntry:
    """A part as a snapshot lists it: file name, counts, size and checksum."""

    name: str
    counts: Counts
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The parts of one complete plan, in plan order; `number` grows with each new result."""

    number: int
    parts: tuple[PartEntry, ...]

    @property
    def counts(self) -> Counts:
        """What became of all rows."""
        return sum((part.counts for part in self.parts), start=Counts())


def latest_snapshot(layout: Layout) -> Snapshot | None:
    """Return the snapshot with the highest number, None before the first.

    Raises:
        OutputError: its file is damaged.
    """
    numbers = [name for name in layout.store.list(layout.snapshots) if name.endswith(".json")]
    if not numbers:
        return None
    last = layout.snapshots / numbers[-1]
    try:
        content = read_json(layout, last)
        parts = tuple(PartEntry(**p | {"counts": Counts(**p["counts"])}) for p in content["parts"])
        return Snapshot(content["number"], parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{last} is damaged: delete it and run the same line again.") from error


def entries(layout: Layout, names: Sequence[str]) -> list[PartEntry]:
    """Return the entries of committed parts: from the notes made at the commit, else the last snapshot or the part.

    Raises:
        OutputError: a part is damaged.
    """
    listed = listed_parts(layout)
    return [entry_of(layout, name, listed) for name in names]


def listed_parts(layout: Layout) -> dict[str, PartEntry]:
    """Return the parts of the latest snapshot by name; none before the first."""
    last = latest_snapshot(layout)
    return {part.name: part for part in last.parts} if last else {}


def entry_of(layout: Layout, name: str, listed: dict[str, PartEntry]) -> PartEntry:
    """Do for one part what `entries` does; `listed` are those of the last snapshot.

    Raises:
        OutputError: it is damaged.
    """
    stats = cached_stats(layout, name)  # first: a part may have been redone since the snapshot
    if stats is None and name in listed:
        return listed[name]
    stats = stats or part_stats(layout, name)
    return PartEntry(name, Counts(**stats["counts"]), stats["bytes"], stats["sha256"])


def publish_snapshot(layout: Layout, parts: Sequence[PartEntry]) -> Snapshot:
    """Publish a snapshot of these parts, unless the latest one lists exactly them."""
    while True:
        last = latest_snapshot(layout)
        if last is not None and last.parts == tuple(parts):
            return last
        new = Snapshot(last.number + 1 if last else 1, tuple(parts))
        final = layout.snapshots / f"{new.number:06d}.json"
        if publish_json(layout, final, asdict(new)) == "won":
            return new
