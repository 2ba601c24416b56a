"""Where on this machine the files of an OUT lie."""

from __future__ import annotations

from pathlib import Path

from embed_corpus.store.base import Key


def at(key: Key) -> Path:
    """The file or folder of an OUT that is a folder."""
    return Path(str(key))
