"""Damaged parts set aside, so that the next run redoes just those."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from embed_corpus.errors import OutputError
from embed_corpus.job.verify import check_rows, check_vectors_of
from embed_corpus.sink.rejects import read_rejects, rejects_file
from embed_corpus.sink.snapshot import entries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embed_corpus.data import Shard
    from embed_corpus.job.reopen import Opened

__all__ = ["repair"]


def repair(opened: Opened) -> Iterator[str]:
    """Move parts that are not what was committed, and records of rejects, into quarantine; tells each and why.

    A part without its record of rejects goes with it: both come from one reading of the source. Works on an
    unfinished result, too.
    """
    layout = opened.layout
    present = set(layout.parts())
    for shard in opened.plan.shards:
        if shard.part_name not in present:
            continue
        try:
            _check(opened, shard)
        except OutputError as error:
            try:
                read_rejects(layout, shard.id)
            except OutputError:
                _set_aside(layout.quarantine, rejects_file(layout, shard.id))
            # The part goes last: while it is there, the shard counts as done.
            (layout.stats / f"{shard.id}.json").unlink(missing_ok=True)
            _set_aside(layout.quarantine, layout.data / shard.part_name)
            yield str(error)


def _check(opened: Opened, shard: Shard) -> None:
    (part,) = entries(opened.layout, [shard.part_name])
    check_vectors_of(opened, part)
    check_rows(opened, part, shard)


def _set_aside(folder: Path, file: Path) -> None:
    """Move a file away under a name that no reader takes for data."""
    folder.mkdir(parents=True, exist_ok=True)
    names = (folder / f"{file.name}.{i}" for i in itertools.count())
    file.rename(next(name for name in names if not name.exists()))
