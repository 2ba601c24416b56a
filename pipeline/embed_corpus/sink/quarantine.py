"""Parts taken out of data/, under names that no reader takes for data."""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from embed_corpus.sink.readback import note_file, shard_id_of
from embed_corpus.sink.rejects import rejects_file
from embed_corpus.store.commit import replace_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from embed_corpus.store.layout import Layout

__all__ = ["distrust", "set_aside", "set_distrusted_aside"]


def set_aside(layout: Layout, part: str, folder: Path) -> Path | None:
    """Move a part to a folder, with its note and its record of rejects: its shard is no longer done.

    Returns where the part lies now; None if it was gone already.
    """
    _move(note_file(layout, part), folder)
    _move(rejects_file(layout, shard_id_of(part)), folder)
    (layout.documents / part).unlink(missing_ok=True)  # made from the part
    # The part goes last: while it is there its shard counts as done, and nobody makes another record. Killed before,
    # whatever wanted it aside finds it again: the part itself tells its counts.
    return _move(layout.data / part, folder)


def _move(file: Path, folder: Path) -> Path | None:
    folder.mkdir(parents=True, exist_ok=True)
    names = (folder / f"{file.name}.{i}" for i in itertools.count())
    with suppress(FileNotFoundError):  # not there, or another process was faster
        return file.rename(next(name for name in names if not name.exists()))
    return None


def distrust(layout: Layout, parts: Sequence[str]) -> int:
    """Note that a fast tokenizer is wrong, so that none is used any more, and set aside what it made.

    Returns how many parts. If this is killed half-way, `set_distrusted_aside` does the rest.
    """
    replace_json(layout.slow_tokenizer, {"suspect": list(parts)}, layout.tmp, durable=True)
    return set_distrusted_aside(layout)


def set_distrusted_aside(layout: Layout) -> int:
    """Set aside the parts that `distrust` noted and did not come to; returns how many."""
    try:
        suspect = json.loads(layout.slow_tokenizer.read_text(encoding="utf8"))["suspect"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # no such note, or an older one
    n_aside = sum(set_aside(layout, part, layout.quarantine) is not None for part in suspect)
    if suspect:  # done again, the same names are sound
        replace_json(layout.slow_tokenizer, {"suspect": []}, layout.tmp, durable=True)
    return n_aside
