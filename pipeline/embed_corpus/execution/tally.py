"""What a run's events add up to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from embed_corpus.data import Counts
from embed_corpus.report.events import (
    Committed,
    Elsewhere,
    Embedded,
    Ended,
    Event,
    Failed,
    Lost,
    Ready,
    Started,
    Stopped,
)

if TYPE_CHECKING:
    from embed_corpus.report.stats import WorkerStats
    from embed_corpus.report.summary import RunReport

__all__ = ["Tally"]


class Tally:
    """The observer by which a run knows what it did.

    Attributes:
        counts: of committed parts.
        seen: of parts that are not finished, too.
        parts, elsewhere: shards committed by this run, and by others meanwhile.
        failed: why shards failed, a sentence each.
        workers: what each worker spent its time on.
        numerics: what can change a vector's bits, of the worker that was last ready; empty before.
        kept, sampled: neighbours that the vector type kept, summed over a sample of vectors, and its size.
    """

    def __init__(self) -> None:
        self.counts = Counts()
        self.seen = Counts()
        self.workers: list[WorkerStats] = []
        self.numerics: dict[str, Any] = {}
        self.parts = self.elsewhere = 0
        self.failed: list[str] = []
        self.kept = self.sampled = 0.0
        self._begin = self._end = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds from the first worker's readiness to the last worker's event."""
        return max(self._end - self._begin, 1e-9)

    def on(self, event: Event) -> None:
        """Add an event."""
        match event:
            case Started() | Stopped():
                return
            case Ready(numerics, budget):
                self._begin = self._begin if self.numerics else time.perf_counter()
                self.numerics = numerics | {"token_budget": budget}
            case Embedded(counts) | Lost(counts):
                self.seen += counts
            case Committed(_, stats):
                self.counts += Counts(**stats["counts"])
                self.parts += 1
            case Failed(_, reason):
                self.failed.append(reason)
            case Elsewhere():
                self.elsewhere += 1
            case Ended(stats, kept, n):
                self.workers.append(stats)
                self.kept += kept * n
                self.sampled += n
        self._end = time.perf_counter()

    def done(self, report: RunReport) -> None:
        """Nothing is left to add: the report was made of this."""
