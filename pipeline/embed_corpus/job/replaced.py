"""Parts that this plan no longer has, and what of their vectors its shards can take over."""

from __future__ import annotations

from bisect import bisect
from collections import defaultdict
from typing import TYPE_CHECKING

from embed_corpus.job.earlier import Replaced
from embed_corpus.sink.readback import shard_id_of
from embed_corpus.source.plan import shard_from_json
from embed_corpus.store.notes import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from embed_corpus.data import Shard
    from embed_corpus.source.plan import Plan
    from embed_corpus.store.layout import Layout

__all__ = ["planned_before", "taken_from"]

_MOST = 4
"""Old parts that are searched for a shard's chunks: each is read whole."""


def planned_before(layout: Layout, names: Iterable[str]) -> dict[str, Shard]:
    """Return the shards of parts by the parts' names, out of the plans of OUT; the newest plans are read first."""
    left = {shard_id_of(name): name for name in names}
    found: dict[str, Shard] = {}
    if not left:
        return found
    plans = [layout.plans / name for name in layout.store.list(layout.plans) if name.endswith(".json")]
    times = {plan: stat.changed_ns for plan in plans if (stat := layout.store.stat(plan))}
    for plan in sorted(times, key=times.__getitem__, reverse=True):
        try:
            listed = read_json(layout, plan)["shards"]
            found |= {left.pop(fields["id"]): shard_from_json(fields) for fields in listed if fields["id"] in left}
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a damaged one tells nothing
        if not left:
            break
    return found


def taken_from(
    layout: Layout, plan: Plan, todo: Iterable[Shard], stale: Iterable[str]
) -> dict[str, tuple[Replaced, ...]]:
    """Return, by the id of a shard to do, the stale parts whose vectors may be its own, likely ones first.

    They are of the same source, about the same rows; of a source that is new they are of one that is gone and had
    the same range, and the same file name if there is such a one.
    """
    before = planned_before(layout, stale)
    if not before or layout.store.stat(layout.slow_tokenizer):  # then their ids may be others
        return {}
    now = {shard.source for shard in plan.shards}
    by_source: dict[str, list[tuple[int, str]]] = defaultdict(list)
    by_range: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for name, old in sorted(before.items(), key=lambda item: item[1].first_row):
        by_source[old.source].append((old.first_row, name))
        if old.source not in now:
            by_range[old.first_row, old.n_rows].append(name)
            by_range[old.first_row, old.n_rows, _file_name(old)].append(name)
    found = {}
    for shard in todo:
        if same := by_source.get(shard.source):
            at = max(min(bisect(same, (shard.first_row, "~")) - _MOST // 2, len(same) - _MOST), 0)
            near = same[at : at + _MOST]
            likely = [name for _, name in sorted(near, key=lambda item: abs(item[0] - shard.first_row))]
        else:
            place = shard.first_row, shard.n_rows
            likely = [*by_range.get((*place, _file_name(shard)), ())[:_MOST], *by_range.get(place, ())[:_MOST]]
            likely = list(dict.fromkeys(likely))[:_MOST]
        if likely:
            found[shard.id] = tuple(Replaced(layout, name) for name in likely)
    return found


def _file_name(shard: Shard) -> str:
    return shard.source.rpartition("/")[2]
