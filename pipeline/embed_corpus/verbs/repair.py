"""Damaged parts set aside, so that the next run redoes just those."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embed_corpus.errors import OutputError
from embed_corpus.job.output import open_output
from embed_corpus.sink.quarantine import set_aside
from embed_corpus.sink.ranges import read_ranges
from embed_corpus.sink.snapshot import entry_of, listed_parts
from embed_corpus.vectors.table import vector_type
from embed_corpus.verbs.checks import check_rows, check_vectors_of

if TYPE_CHECKING:
    import os

__all__ = ["Repair", "repair"]


@dataclass(frozen=True, slots=True)
class Repair:
    """What `repair` set aside: where to, and for each part one sentence that names it and says what was wrong."""

    quarantine: Path
    reasons: tuple[str, ...]


def repair(out: str | os.PathLike[str]) -> Repair:
    """Move parts that are not what was committed into OUT/_embed/quarantine, each with its record of rejects.

    The same run again redoes those alone: part and record come from one reading of the source. Works on an
    unfinished result, too.

    Raises:
        UsageError: the folder is no OUT.
    """
    opened = open_output(Path(out))
    layout = opened.layout
    present, listed = set(layout.parts()), listed_parts(layout)
    if vector_type(opened.record.vector_type).needs_ranges:  # else each part would seem to be of others
        read_ranges(layout, opened.record.space.dim)
    reasons = []
    for shard in opened.plan.shards:
        if shard.part_name not in present:
            continue
        try:
            part = entry_of(layout, shard.part_name, listed)
            check_vectors_of(opened, part)
            check_rows(opened, part, shard)
        except OutputError as error:
            set_aside(layout, shard.part_name, layout.quarantine)
            reasons.append(str(error))
    return Repair(layout.store.local(layout.quarantine), tuple(reasons))
