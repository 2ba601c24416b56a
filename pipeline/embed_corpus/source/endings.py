"""Endings of files of lines: which are plain, and how the others are packed as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embed_corpus.firstbytes import ENOUGH, packing_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["JSON_LINES", "PACKED", "begin_of", "packing"]

JSON_LINES = (".jsonl", ".ndjson", ".json")
"""Endings of plain files of JSON lines."""

PACKED = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
"""What stands behind these where a file is packed, and with what it then is."""


def packing(path: Path, plain: Sequence[str] = JSON_LINES) -> str | None:
    """Return what a file is packed with: by its ending, and where that says nothing, by its first bytes.

    `plain` are endings of files that are not packed.

    Raises:
        OSError: the first bytes cannot be read.
    """
    ending = path.suffix.lower()
    return PACKED.get(ending) if ending in PACKED or ending in plain else packing_of(begin_of(path))


def begin_of(path: Path | str) -> bytes:
    """Return the first bytes of a file, as many as tell what it is."""
    with open(path, "rb") as stream:  # noqa: PTH123  # of 100,000 files
        return stream.read(ENOUGH)
