"""The plan in which only the newest row of each id is left (`--on-duplicate last`)."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from embed_corpus.job.superseded import superseded_rows, without_superseded
from embed_corpus.store.notes import publish_json, read_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from embed_corpus.job.config import JobConfig
    from embed_corpus.source.plan import Plan
    from embed_corpus.store.layout import Layout

__all__ = ["newest_rows"]

log = logging.getLogger("embed_corpus")


def newest_rows(layout: Layout, plan: Plan, config: JobConfig) -> tuple[Plan, Callable[[], object]]:
    """Mark in each shard the rows whose id a later row has, if so asked.

    Returns:
        The plan, and what keeps the marks once OUT is known to be ours, so that the ids of a plan are read once.

    Raises:
        DataError: a source can no longer be read.
    """
    if config.on_duplicate != "last" or config.id_column is None:
        return plan, lambda: None
    note = layout.newest / f"{plan.id}.json"
    try:
        marks = dict(read_json(layout, note)["superseded"])
    except (OSError, ValueError, KeyError, TypeError):  # not read yet
        log.info("reading the ids of %s rows: of each id the newest row stands", f"{plan.rows:,}")
        marks = superseded_rows(plan.shards, config.id_column)
    keep = partial(publish_json, layout, note, {"superseded": marks})
    return without_superseded(plan, marks), keep
