"""Parts taken out of data/, under names that no reader takes for data."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from embed_corpus.sink.rejects import rejects_file

if TYPE_CHECKING:
    from pathlib import Path

    from embed_corpus.sink.layout import Layout

__all__ = ["set_aside"]


def set_aside(layout: Layout, shard_id: str, part: str) -> None:
    """Move a part and its record of rejects to quarantine: that shard is no longer done."""
    (layout.stats / f"{shard_id}.json").unlink(missing_ok=True)
    record = rejects_file(layout, shard_id)
    if record.exists():
        _move(record, layout.quarantine)
    (layout.documents / part).unlink(missing_ok=True)
    # The part goes last: while it is there its shard counts as done, and nobody makes another record.
    _move(layout.data / part, layout.quarantine)


def _move(file: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = (folder / f"{file.name}.{i}" for i in itertools.count())
    file.rename(next(name for name in names if not name.exists()))
