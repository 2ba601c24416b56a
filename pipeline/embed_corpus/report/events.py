"""What happens in a run, as observers are told of it: plain values, some of which cross the process boundary.

Started ─ Ready (each worker) ─ Embedded … Committed | Failed (each shard) ─ Ended (each worker) ─ Stopped
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embed_corpus.data import Counts, Shard
    from embed_corpus.report.stats import WorkerStats

__all__ = [
    "Committed",
    "Elsewhere",
    "Embedded",
    "Ended",
    "Event",
    "Failed",
    "Lost",
    "Ready",
    "ShardEvent",
    "Started",
    "Stopped",
]


@dataclass(frozen=True, slots=True)
class Started:
    """Workers are about to be started for so many shards and rows: those that have no part yet."""

    shards: int
    rows: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker can begin; `numerics` is what can change its vectors' bits, `notes` what its user should know."""

    numerics: dict[str, Any]
    token_budget: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Progress: rows whose vectors are with the writer."""

    counts: Counts


@dataclass(frozen=True, slots=True)
class Committed:
    """A part became visible; `stats` is what is noted beside it."""

    shard: Shard
    stats: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """A shard whose source turned out unreadable; nothing of it is visible."""

    shard: Shard
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker died: rows that were embedded and must be again, as negative counts."""

    counts: Counts


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A shard that another run has done meanwhile."""

    shard: Shard


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker has no shard left; of a sample of its vectors, `sampled` in all, the share of neighbours kept."""

    stats: WorkerStats
    neighbours_kept: float
    sampled: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """No shard is handed out any more, and no worker's event follows, whatever the reason."""


ShardEvent = Embedded | Committed | Failed
"""What becomes of a shard in its worker."""
Event = Started | Ready | ShardEvent | Lost | Elsewhere | Ended | Stopped
