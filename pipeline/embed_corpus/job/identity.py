"""Which of the files that were touched hold what is embedded already: told by their content, never by a footer.

A first plan reads no more of a Parquet file than its footer, and tags it so. A file that OUT knows, but not with the
size and times that it has now, may be another behind the same footer. Then the bytes that its shards read are
compared with the digests that its parts hold: if all are equal it keeps its tag, if not its content becomes part of
the tag, and with that its shards are new ones. What is decided depends on the files and on OUT alone, so that runs that
share OUT agree.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from embed_corpus.errors import OutputError
from embed_corpus.job.record import read_job_file
from embed_corpus.job.replaced import planned_before
from embed_corpus.sink.readback import part_stats
from embed_corpus.source.content import content_of, digest_over, group_digests
from embed_corpus.source.formats.table import FORMATS
from embed_corpus.source.inspected import is_noted
from embed_corpus.source.plan import make_plan, shard_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from embed_corpus.data import Shard
    from embed_corpus.job.config import JobConfig
    from embed_corpus.source.columns import Columns
    from embed_corpus.source.formats.base import Source
    from embed_corpus.source.inspected import Known
    from embed_corpus.store.layout import Layout

__all__ = ["identified", "of_other_content"]

log = logging.getLogger("embed_corpus")

_BETWEEN = "-"
"""Stands in a tag between the hash of the footer and the digest of the content."""


def identified(
    sources: Sequence[Source], config: JobConfig, layout: Layout, job: str, known: Known
) -> tuple[list[Source], set[str]]:
    """Return the sources with the tags that they have in OUT, and the paths of those to be noted by a later run only.

    The latter are files that changed while another run may be embedding them as they were. `job` is the job hash.

    Raises:
        DataError: a file cannot be read.
    """
    trust = {} if config.paranoid else known
    tagged = [_as_noted(source, trust) for source in sources]
    doubted = [s for s in tagged if not is_noted(s, trust) and not FORMATS[s.format].tag_covers_all]
    if not doubted or not _is_ours(layout, job):
        return tagged, set()
    look = _Look(layout, config.columns, job, known, make_plan(tagged, job, config.limit).shards)
    found = {source.path: look.tag_of(source) for source in doubted}
    changed = [path for path, (_, new) in found.items() if new]
    if changed:
        log.info(
            "%d source files, e.g. %s, changed behind the same footer (or no digest is noted of their parts): "
            "they are embedded again, but for chunks that stayed",
            len(changed),
            changed[0],
        )
    unsure = {s.path for s in doubted if look.is_unsure(s, found[s.path][0])}
    return [replace(s, tag=found[s.path][0]) if s.path in found else s for s in tagged], unsure


def _as_noted(source: Source, known: Known) -> Source:
    """Return a source with the tag that is noted of it, if it has not been touched since."""
    if not is_noted(source, known):
        return source
    noted = str(known[source.path].get("tag", ""))
    return replace(source, tag=noted) if noted != source.tag and _footer(noted) == _footer(source.tag) else source


def _is_ours(layout: Layout, job: str) -> bool:
    """Tell whether OUT holds something of this job: parts of another one tell nothing."""
    try:
        return read_job_file(layout).hash == job
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _footer(tag: str) -> str:
    return tag.partition(_BETWEEN)[0]


class _Look:
    """What OUT tells of sources that may have changed."""

    def __init__(self, layout: Layout, columns: Columns, job: str, known: Known, shards: Iterable[Shard]) -> None:
        self._layout, self._columns, self._job, self._known = layout, columns, job, known
        self._present = set(layout.parts())
        self._shards = defaultdict(list)
        for shard in shards:
            self._shards[shard.source].append(shard)

    @cached_property
    def _others(self) -> set[str]:
        """Sources of parts that the plan by footers does not have."""
        names = {shard.part_name for shards in self._shards.values() for shard in shards}
        return {shard.source for shard in planned_before(self._layout, self._present - names).values()}

    def tag_of(self, source: Source) -> tuple[str, bool]:
        """Return a source's tag, and whether it is a new one because its content is not that of its parts."""
        here = [shard for shard in self._shards[source.relative] if shard.part_name in self._present]
        if not here and not self._may_be_tagged(source):
            return source.tag, False
        groups = group_digests(source, self._columns)
        tagged = replace(source, tag=f"{source.tag}{_BETWEEN}{digest_over(groups)}")
        again = [self._as(tagged, shard) for shard in self._shards[source.relative]]
        if any(shard.part_name in self._present for shard in again):
            return tagged.tag, False
        same = all(self._digest(shard) == digest_over(groups, shard.first_row, shard.n_rows) for shard in here)
        return (source.tag, False) if same else (tagged.tag, True)

    def is_unsure(self, source: Source, tag: str) -> bool:
        """Tell whether a source seen before was changed, and its shards are still to come under the same ids."""
        seen = source.path in self._known or source.relative in self._others
        left = any(shard.part_name not in self._present for shard in self._shards[source.relative])
        return seen and left and _BETWEEN not in tag and not is_noted(source, self._known)

    def _may_be_tagged(self, source: Source) -> bool:
        """Tell whether there may be parts of a source with a digest of its content in their ids."""
        if source.path in self._known:
            tag = str(self._known[source.path].get("tag", ""))
            return _BETWEEN in tag and _footer(tag) == source.tag
        return source.relative in self._others

    def _as(self, tagged: Source, shard: Shard) -> Shard:
        return shard_of(tagged, shard.first_row, shard.n_rows, shard.offset, self._job)

    def _digest(self, shard: Shard) -> str | None:
        try:
            digest: str | None = part_stats(self._layout, shard.part_name).get("content")
        except OutputError:  # a damaged part tells nothing
            return None
        return digest


def of_other_content(layout: Layout, shard: Shard, columns: Columns) -> bool:
    """Tell whether a part that another run made meanwhile is of another content than the source has here.

    It is looked at only if that run saw the file with another time.

    Raises:
        DataError: the source cannot be read. OutputError: the part is damaged.
    """
    stats = part_stats(layout, shard.part_name)
    if "content" not in stats or stats.get("source_mtime_ns") == shard.mtime_ns:
        return False
    return bool(stats["content"] != content_of(shard, columns))
