"""index.json: what an index is of, how it was made, and how good it was found to be."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import OutputError, UsageError
from embed_corpus.index.schema import IndexRecord
from embed_corpus.sink.readback import cached_stats
from embed_corpus.store.notes import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from embed_corpus.sink.snapshot import PartEntry, Snapshot
    from embed_corpus.store.layout import Layout

__all__ = [
    "HAMMING",
    "INNER_PRODUCT",
    "SCALED",
    "check_current",
    "check_files",
    "check_parts",
    "digest_of",
    "read_manifest",
    "warn_below_target",
]

log = logging.getLogger("embed_corpus")

HAMMING = "hamming"
INNER_PRODUCT = "inner product"
SCALED = "inner product of scaled vectors"
_KEYS = {"type", "metric", "rows", "dim", "snapshot", "space", "parts", "files", "effort", "sha256"}
_QUICK_BYTES = 1 << 30
"""Bytes that are read and hashed in about a second."""
_AGAIN = "`embed-corpus index {root}` makes it anew."


def read_manifest(layout: Layout) -> IndexRecord | None:
    """Return index.json, None where there is no (complete) index.

    Raises:
        OutputError: index.json is damaged.
    """
    file = layout.index / "index.json"
    again = _AGAIN.format(root=layout.root)
    try:
        manifest: dict[str, Any] = read_json(layout, file)
        missing = _KEYS - manifest.keys()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise OutputError(f"{file} is damaged ({error}): {again}") from error
    if missing:
        raise OutputError(f"{file} is damaged (no {min(missing)}): {again}")
    if manifest["sha256"] != digest_of(manifest):
        raise OutputError(f"{file} is damaged, it has not the sha256 that it tells of itself: {again}")
    return IndexRecord.from_json(manifest)


def digest_of(manifest: dict[str, Any]) -> str:
    """Return the sha256 of all that index.json tells, but for this."""
    told = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def warn_below_target(layout: Layout, manifest: IndexRecord) -> None:
    """Say so if an index finds less than was asked of it when it was built."""
    recall, target = manifest.recall.get("10"), manifest.target_recall
    if recall is not None and target is not None and recall < target:
        log.warning(
            "the index in %s finds %.3f of the 10 nearest, below the %s that was asked of it: `embed-corpus index %s "
            "--type auto` takes a type that finds them",
            layout.root,
            recall,
            target,
            layout.root,
        )


def check_current(layout: Layout, manifest: IndexRecord, snapshot: Snapshot | None, space: str) -> None:
    """Check that an index is of the current parts, and its vectors of their space.

    Raises:
        UsageError: it is not, and how to renew it.
    """
    again = _AGAIN.format(root=layout.root)
    if snapshot is None or manifest.checksums != {part.name: part.sha256 for part in snapshot.parts}:
        raise UsageError(
            f"the index in {layout.root} is of snapshot {manifest.snapshot}, the parts have changed since: {again}"
        )
    if manifest.space != space:
        raise UsageError(f"the index in {layout.root} is of vectors of another model than the parts: {again}")


def check_files(layout: Layout, manifest: IndexRecord, *, whole: bool = False) -> None:
    """Check that the files of an index are there, of the size and the sha256 they were written with.

    Of files over 1 GiB the sha256 takes seconds: it is asked for with `whole` alone.

    Raises:
        OutputError: one is not.
    """
    for name, facts in manifest.files.items():
        file = layout.index / name
        stat = layout.store.stat(file)
        sound = stat is not None and stat.size == facts.bytes
        if sound and (whole or facts.bytes <= _QUICK_BYTES):
            with layout.store.open(file) as stream:
                sound = hashlib.file_digest(stream, "sha256").hexdigest() == facts.sha256
        if not sound:
            raise OutputError(f"{file} is missing or damaged: {_AGAIN.format(root=layout.root)}")


def check_parts(layout: Layout, parts: Iterable[PartEntry]) -> None:
    """Check that parts still are what a snapshot lists, by size and by the sha256 noted when they were committed.

    A run that tries rejects again redoes parts under their old names, long before its end. That one is gone
    is told by who reads it.

    Raises:
        UsageError: one is not, and what to do.
    """
    for part in parts:
        file, noted = layout.data / part.name, cached_stats(layout, part.name)
        stat = layout.store.stat(file)
        if stat and (stat.size != part.bytes or (noted and noted["sha256"] != part.sha256)):
            raise UsageError(
                f"{file} was made again since the snapshot: let the run come to its end (the same line again), then "
                f"run `embed-corpus index {layout.root}` again. If it was damaged: `embed-corpus verify --repair`."
            )
