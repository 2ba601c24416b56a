"""Damaged parts set aside, so that the next run redoes just those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embed_corpus.errors import OutputError
from embed_corpus.sink.quarantine import set_aside
from embed_corpus.sink.snapshot import entry_of, listed_parts
from embed_corpus.vectors.codec import read_ranges
from embed_corpus.verbs.verify import check_rows, check_vectors_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embed_corpus.job.output import Opened

__all__ = ["repair"]


def repair(opened: Opened) -> Iterator[str]:
    """Move parts that are not what was committed into quarantine, each with its record of rejects; tells each and why.

    Both come from one reading of the source. Works on an unfinished result, too.
    """
    layout = opened.layout
    present, listed = set(layout.parts()), listed_parts(layout)
    if opened.fields["vector_type"] == "int8":  # else each part would seem to be of others
        read_ranges(layout.ranges, opened.fields["space"]["dim"])
    for shard in opened.plan.shards:
        if shard.part_name not in present:
            continue
        try:
            part = entry_of(layout, shard.part_name, listed)
            check_vectors_of(opened, part)
            check_rows(opened, part, shard)
        except OutputError as error:
            set_aside(layout, shard.part_name, layout.quarantine)
            yield str(error)
