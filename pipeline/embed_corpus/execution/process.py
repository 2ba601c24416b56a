"""A worker process as its parent sees it."""

from __future__ import annotations

import math
import multiprocessing
import sys
import time
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

from embed_corpus.data import Counts
from embed_corpus.execution.signals import blocked
from embed_corpus.report.events import Committed, Embedded, Ended, Event, Failed, Ready

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from embed_corpus.data import Shard
    from embed_corpus.execution.messages import WorkerSpec

__all__ = ["Running", "end"]

_PATIENCE = 1.5
"""Seconds that workers have to end of themselves; then they are killed."""


class Running:
    """One worker process, and what it holds that is not committed yet."""

    def __init__(self, spec: WorkerSpec, lives: int, faults: int = 0) -> None:
        from embed_corpus.execution.worker import work

        context = multiprocessing.get_context("spawn")
        self.spec, self.lives, self.faults = spec, lives, faults
        self.watching = self.ended = self.dead = self.again = self.unwell = False
        self.ready: float | None = None
        self.shards: list[Shard] = []
        self.counts = Counts()
        self.rows = 0
        self.last: str | None = None
        self.heard = time.monotonic()
        self.connection, theirs = context.Pipe()
        # No daemon: it may have loader processes of its own. Workers end with this process all the same.
        self.process = context.Process(target=work, args=(theirs, spec), name=f"embed-{spec.device}", daemon=False)
        with blocked(), _without_main():
            self.process.start()
        theirs.close()

    def take(self, event: Event) -> None:
        """Keep the account of what would be lost with this process."""
        match event:
            case Ready():
                self.ready = time.monotonic()
            case Embedded(counts):
                self.counts += counts
                self.rows += counts.rows
            case Committed(shard) | Failed(shard):
                self.shards = [s for s in self.shards if s.id != shard.id]
                self.counts = Counts()
            case Ended():
                self.ended = True

    def seconds_left(self) -> float:
        """Predict how long the shard under way will take, by this worker's speed so far."""
        if self.ready is None or not self.shards or not self.rows:
            return math.inf
        each = (time.monotonic() - self.ready) / self.rows
        return (self.shards[0].n_rows - self.counts.rows) * each


@contextmanager
def _without_main() -> Iterator[None]:
    """Let a process that is started here not import the caller's main module, which it needs nothing of.

    Else a script without `if __name__ == "__main__"` would start itself again in every worker, and one that came
    through stdin (`python -`), whose file is not there, could start none.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def end(workers: Collection[Running]) -> None:
    """Stop processes, whatever they are doing: a worker ends when its connection is closed, else it is killed."""
    for worker in workers:
        worker.connection.close()
        if not worker.watching:
            worker.process.kill()
    deadline = time.monotonic() + _PATIENCE
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
