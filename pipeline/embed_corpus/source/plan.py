"""The plan: every shard of the input, in order, the same on every machine."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from embed_corpus.data import Shard
from embed_corpus.errors import DataError
from embed_corpus.source.formats.base import UnreadableError
from embed_corpus.source.formats.table import stem_of
from embed_corpus.source.inspected import inspect_known
from embed_corpus.source.kept import check_missing, kept_types, told_of_columns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from embed_corpus.source.columns import Columns
    from embed_corpus.source.discover import Found
    from embed_corpus.source.formats.base import Source
    from embed_corpus.source.inspected import Known

__all__ = ["Plan", "inspect_all", "inspect_good", "kept_types", "make_plan", "shard_from_json", "shard_of"]

log = logging.getLogger("embed_corpus")


@dataclass(frozen=True, slots=True)
class Plan:
    """An immutable list of shards, sorted by relative path and row; `id` is a hex digest over it."""

    shards: tuple[Shard, ...]
    id: str = field(init=False)

    def __post_init__(self) -> None:
        listed = json.dumps(self.to_json()["shards"])
        object.__setattr__(self, "id", blake2b(listed.encode(), digest_size=10).hexdigest())

    @property
    def rows(self) -> int:
        """Rows of all shards together."""
        return sum(shard.n_rows for shard in self.shards)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the plan file."""
        return {"shards": [shard.to_json() for shard in self.shards]}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Plan:
        """Rebuild a plan from its file; the shards' `path` and `format` stay empty."""
        return cls(tuple(map(shard_from_json, content["shards"])))


def inspect_all(found: Iterable[Found], columns: Columns, known: Known | None = None) -> list[Source]:
    """Inspect every source file that has changed since it became known.

    Raises:
        DataError: naming every file that is unreadable or lacks a column (ten in full).
    """
    return inspect_good(found, columns, known)[0]


def inspect_good(
    found: Iterable[Found], columns: Columns, known: Known | None = None, max_bad: int = 0
) -> tuple[list[Source], dict[str, str]]:
    """Do what `inspect_all` does, but leave out up to `max_bad` files of which nothing can be used.

    Returns the sources, and the files left out by path, each with the reason.

    Raises:
        DataError: there are more, or no other; or a file lacks a column, or the system does not let it be read.
    """
    sources: list[Source] = []
    left_out: dict[str, str] = {}
    bad: list[str] = []
    for file in found:
        try:
            sources.append(inspect_known(file, columns, known or {}))
        except DataError as error:
            bad.append(str(error))
            if isinstance(error, UnreadableError):
                left_out[file.path] = str(error)
    if bad and (len(bad) > len(left_out) or len(bad) > max_bad or not sources):
        more = [f"and {len(bad) - 10} more"] if len(bad) > 10 else []
        raise DataError("\n".join(bad[:10] + more))
    if missing := check_missing(sources, columns):
        raise DataError("\n".join(missing[:10] + ([f"and {len(missing) - 10} more"] if len(missing) > 10 else [])))
    for line in told_of_columns(sources, columns):
        log.warning("%s", line)
    return sources, left_out


def make_plan(sources: Iterable[Source], job: str, limit: int | None = None) -> Plan:
    """Cut the sources into shards, the first `limit` rows at most; `job` is the job hash."""
    left = limit if limit is not None else 1 << 62
    shards = []
    for source in sources:
        for cut in source.cuts:
            if left <= 0:
                break
            n_rows = min(cut.n_rows, left)
            left -= n_rows
            shards.append(shard_of(source, cut.first_row, n_rows, cut.offset, job))
    return Plan(tuple(shards))


def shard_of(source: Source, first_row: int, n_rows: int, offset: int, job: str) -> Shard:
    """Return the shard of a row range: its id is what it is, wherever and whenever it is planned."""
    identity = [source.relative, source.size, source.tag, first_row, n_rows, job]
    digest = blake2b(json.dumps(identity).encode(), digest_size=10).hexdigest()
    place = source.path, source.mtime_ns
    stem = stem_of(source.relative)
    return Shard(digest, source.relative, first_row, n_rows, offset, *place, stem=stem, format=source.format)


def shard_from_json(fields: dict[str, Any]) -> Shard:
    """Rebuild a shard from its fields in a plan file.

    Raises:
        TypeError: these are not those of a shard.
    """
    return Shard(**fields, stem=stem_of(fields["source"]))
