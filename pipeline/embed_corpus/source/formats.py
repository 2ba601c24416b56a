"""Which files are read, and as what: by their endings, and where these say nothing, by their first bytes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from embed_corpus.firstbytes import ENOUGH, other_kind, packing_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ENDINGS", "FORMATS", "SUFFIXES", "is_sure", "kind_at", "kind_of", "packing", "wrong_kind"]

FORMATS = ("parquet", "jsonl")
"""What `--format` may say of files whose endings say nothing."""

_PACKED = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".xz": "xz"}
_CODECS_INSIDE = ("gzip", "gz", "snappy", "zstd", "zst", "brotli", "br", "lz4")
"""What some writers put behind `.parquet`: how the pages are packed, not the file."""

SUFFIXES = {
    **dict.fromkeys((".parquet", ".parq", ".pq"), "parquet"),
    **{f".parquet.{codec}": "parquet" for codec in _CODECS_INSIDE},
    **{f"{kind}{packed}": "jsonl" for kind in (".jsonl", ".ndjson", ".json") for packed in ("", *_PACKED)},
}
"""File name endings that are read, and as what."""

ENDINGS = (
    ".parquet, .pq, .parq, .jsonl, .ndjson, .json (one object a line), each of these three also .gz, .zst, .bz2, .xz"
)
"""The same for people."""

_UNSURE = tuple(end for end in SUFFIXES if end.startswith(".parquet.") or (end + ".").startswith(".json."))


def kind_of(path: Path | str) -> str | None:
    """Return "parquet" or "jsonl" by the file's ending, None where it says nothing."""
    _, *ends = os.path.basename(path).lower().rsplit(".", 2)  # noqa: PTH119  # of 100,000 files
    return SUFFIXES.get(f".{'.'.join(ends)}") or SUFFIXES.get(f".{ends[-1]}" if ends else "")


def is_sure(path: Path | str) -> bool:
    """Whether the ending promises data: `.json` may be settings, and `.parquet.gz` may be packed as a whole."""
    return not os.fspath(path).lower().endswith(_UNSURE)


def kind_at(path: Path | str) -> str:
    """Return "parquet" or "jsonl" by the file's ending, and where that says nothing, by its first bytes.

    Raises:
        OSError: these cannot be read.
    """
    return kind_of(path) or ("parquet" if _begin(path).startswith(b"PAR1") else "jsonl")


def packing(path: Path) -> str | None:
    """Return what a file of lines is packed with: by its ending, and where that says nothing, by its first bytes.

    Raises:
        OSError: these cannot be read.
    """
    ending = path.suffix.lower()
    return _PACKED.get(ending) if kind_of(path) or ending in _PACKED else packing_of(_begin(path))


def wrong_kind(path: Path, kind: str) -> str | None:
    """Say what a file is that should be of a kind; None if it may be that.

    Raises:
        OSError: it cannot be read.
    """
    expected = (packing(path) or kind) if kind == "jsonl" else kind
    return other_kind(_begin(path), expected)


def _begin(path: Path | str) -> bytes:
    with open(path, "rb") as stream:  # noqa: PTH123  # of 100,000 files
        return stream.read(ENOUGH)
