"""Parts taken out of data/, under names that no reader takes for data."""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

from embed_corpus.sink.readback import note_file, shard_id_of
from embed_corpus.sink.rejects import rejects_file
from embed_corpus.store.notes import read_json, replace_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embed_corpus.store.base import Key
    from embed_corpus.store.layout import Layout

__all__ = ["distrust", "set_aside", "set_distrusted_aside"]


def set_aside(layout: Layout, part: str, folder: Key) -> Key | None:
    """Move a part to a folder, with its note and its record of rejects: its shard is no longer done.

    Returns where the part lies now; None if it was gone already.
    """
    _move(layout, note_file(layout, part), folder)
    _move(layout, rejects_file(layout, shard_id_of(part)), folder)
    layout.store.delete(layout.documents / part)  # made from the part
    # The part goes last: while it is there its shard counts as done, and nobody makes another record. Killed before,
    # whatever wanted it aside finds it again: the part itself tells its counts.
    return _move(layout, layout.data / part, folder)


def _move(layout: Layout, file: Key, folder: Key) -> Key | None:
    store = layout.store
    names = (folder / f"{file.name}.{i}" for i in itertools.count())
    with suppress(FileNotFoundError):  # not there, or another process was faster
        moved = next(name for name in names if not store.stat(name))
        store.move(file, moved)
        return moved
    return None


def distrust(layout: Layout, parts: Sequence[str]) -> int:
    """Note that a fast tokenizer is wrong, so that none is used any more, and set aside what it made.

    Returns how many parts. If this is killed half-way, `set_distrusted_aside` does the rest.
    """
    replace_json(layout, layout.slow_tokenizer, {"suspect": list(parts)}, durable=True)
    return set_distrusted_aside(layout)


def set_distrusted_aside(layout: Layout) -> int:
    """Set aside the parts that `distrust` noted and did not come to; returns how many."""
    try:
        suspect = read_json(layout, layout.slow_tokenizer)["suspect"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0  # no such note, or an older one
    n_aside = sum(set_aside(layout, part, layout.quarantine) is not None for part in suspect)
    if suspect:  # done again, the same names are sound
        replace_json(layout, layout.slow_tokenizer, {"suspect": []}, durable=True)
    return n_aside
