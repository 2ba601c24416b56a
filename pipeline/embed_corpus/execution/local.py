"""Local processes as executor, one per device: the parent hands out shards, the workers embed and commit them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import EmbedCorpusError, error_named
from embed_corpus.execution.messages import Alive, Broken, Next, Unwell
from embed_corpus.execution.process import Running, end
from embed_corpus.report.events import Committed, Elsewhere, Event, Failed, Lost, Ready

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from multiprocessing.connection import Connection

    from embed_corpus.data import Shard
    from embed_corpus.execution.claims import Queue
    from embed_corpus.execution.messages import WorkerSpec
    from embed_corpus.execution.signals import Stop

__all__ = ["run_workers"]

log = logging.getLogger("embed_corpus")


_HANG = 1800.0
"""Seconds without any progress after which a worker is taken for hung: a batch of the largest model on a CPU,
or a document of the greatest size, takes some minutes."""
_LIVES = 3
"""Processes that a worker's place gets, one after the other; then its device is given up."""
_DEATHS = 2
"""Workers that may die over one shard; then the shard is to blame."""
_BLAMED = 3
"""Shards to blame one after the other; then it is something else."""
_FAULTS = 2
"""Failures of a device after which the others go on without it."""


def run_workers(specs: Sequence[WorkerSpec], queue: Queue, stop: Stop, grace: float) -> Generator[Event, None, None]:
    """Embed the queue's shards on one process per spec, each taking the next shard when it is free.

    Yields the workers' events as they come. A worker that dies or hangs is replaced and its shards
    are done again; a device whose workers die again and again is given up. Asked to stop, it hands out
    no more, and ends when the shards under way are committed that are predicted to be within `grace`
    seconds; asked twice, at once. Whatever ends this, no process is left behind.

    Raises:
        EmbedCorpusError: a worker reported an error, or the last one died.
    """
    crew = _Crew(queue, stop, grace)
    try:
        while queue.wait(stop) and not crew.given_up:
            crew.start(specs[: len(queue)])
            while crew.running:
                yield from crew.events()
        yield from crew.elsewhere()
        if len(queue) and not stop.count:
            raise EmbedCorpusError("the last worker ended before all was done: run the same line again.")
    finally:
        end(crew.running.values())


class _Crew:
    """The workers that run, and when they have to stop."""

    def __init__(self, queue: Queue, stop: Stop, grace: float) -> None:
        self.running: dict[Connection, Running] = {}
        self.given_up = False
        self._queue, self._stop, self._grace = queue, stop, grace
        self._begun = False
        self._deaths: Counter[str] = Counter()  # of workers that held a shard, by its id
        self._blamed_in_a_row = 0
        self._deadline: float | None = None

    def start(self, specs: Iterable[WorkerSpec]) -> None:
        for spec in specs:
            worker = Running(spec, _LIVES)
            self.running[worker.connection] = worker

    def events(self) -> Generator[Event, None, None]:
        """Wait once and yield what came; see to the dead, or to those that are to stop."""
        for connection in self._waited():
            worker = self.running[connection]
            event = _received(worker)
            if isinstance(event, Next):
                self._answer(worker)
            elif event is None:
                worker.dead = True
            elif not isinstance(event, Alive):
                self._begun |= isinstance(event, Ready)
                worker.take(event)
                if isinstance(event, Committed | Failed):
                    self._queue.done(event.shard)
                    self._deaths.pop(event.shard.id, None)
                    self._blamed_in_a_row = 0 if isinstance(event, Committed) else self._blamed_in_a_row
                yield event
        yield from self.elsewhere()
        if self._stop.count:
            self._dismiss()
        else:
            yield from self._replaced()

    def elsewhere(self) -> Generator[Event, None, None]:
        """Yield the shards that another run turned out to have done."""
        while self._queue.elsewhere:
            yield Elsewhere(self._queue.elsewhere.pop())

    def _answer(self, worker: Running) -> None:
        """Give a worker the next shard; None lets it finish what it has, and end."""
        shard = None if self._stop.count else self._next(worker)
        worker.shards += [shard] if shard else []
        with contextlib.suppress(OSError):  # if it has died meanwhile, receiving from it will tell
            worker.connection.send(shard)

    def _next(self, worker: Running) -> Shard | None:
        """Return the next shard for a worker; one over which a worker died for a fresh one, and no other with it.

        Batches run on across shards, so only the end of its input makes a worker finish the last.
        """
        worker.again = any(shard.id in self._deaths for shard in worker.shards)
        if worker.again:
            return None
        passed: list[Shard] = []
        while (shard := self._queue.take()) is not None and shard.id in self._deaths and worker.shards:
            passed.append(shard)
        self._queue.give_back(passed)
        worker.again = shard is None and bool(passed)
        return shard

    def _replaced(self) -> Generator[Event, None, None]:
        """Put others in the place of the dead and the hung, but for those that were done."""
        for worker in [worker for worker in self.running.values() if worker.dead or _hangs(worker)]:
            end([worker])
            self.running.pop(worker.connection)
            if worker.ended:
                if worker.again and len(self._queue):
                    fresh = Running(worker.spec, worker.lives, worker.faults)
                    self.running[fresh.connection] = fresh
                continue
            blamed = self._blamed(worker)
            self._queue.give_back(worker.shards)
            yield Lost(-worker.counts)
            if blamed is not None:
                yield blamed
            if (heir := _heir(worker, others=bool(self.running), begun=self._begun)) is not None:
                self.running[heir.connection] = heir
            else:
                self.given_up = True

    def _blamed(self, dead: Running) -> Failed | None:
        """Note what a dead worker held; what it held alone, after an earlier death, is not tried again in this run.

        If shard after shard kills them and none is done, it is no shard.
        """
        if dead.unwell:
            return None
        self._deaths.update(shard.id for shard in dead.shards)
        alone = len(dead.shards) == 1 and self._deaths[dead.shards[0].id] >= _DEATHS
        if not alone or self._blamed_in_a_row == _BLAMED:
            return None
        self._blamed_in_a_row += 1
        shard = dead.shards.pop()
        dead.lives += _DEATHS
        del self._deaths[shard.id]
        self._queue.done(shard)
        last = shard.first_row + shard.n_rows - 1
        return Failed(shard, f"{shard.source}, rows {shard.first_row} to {last}: {_DEATHS} workers died over them.")

    def _dismiss(self) -> None:
        """Decide once for which shards to wait, then end each worker that has committed its own, or is late."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._grace
            for worker in self.running.values():
                if worker.seconds_left() <= self._grace:
                    worker.last = worker.shards[0].id
            if self._grace and (n := sum(worker.last is not None for worker in self.running.values())):
                log.info("stopping: %d open shards, at most %g s; a second signal ends at once", n, self._grace)
        late = self._stop.count > 1 or time.monotonic() >= self._deadline
        # What it holds behind that shard is dropped: it was read ahead, or has only just begun.
        ends = [w for w in self.running.values() if late or w.dead or w.last not in [s.id for s in w.shards[:1]]]
        end(ends)
        for worker in ends:
            self.running.pop(worker.connection)

    def _waited(self) -> list[Connection]:
        """Wait for events, for some time; if this process itself was stopped meanwhile, no worker is to blame."""
        begin = time.monotonic()
        timeout = _HANG / 4 if self._deadline is None else max(0.0, self._deadline - begin)
        found: list[Any] = wait([*self.running, self._stop], timeout)  # type: ignore[list-item]  # it has a fileno
        if self._stop in found:
            found.remove(self._stop)
            self._stop.heard()
        if time.monotonic() - begin > _HANG / 2:
            for worker in self.running.values():
                worker.heard = time.monotonic()
        return found


def _hangs(worker: Running) -> bool:
    """Tell whether a worker that had begun has not got on for too long."""
    return worker.ready is not None and time.monotonic() - worker.heard > _HANG


def _received(worker: Running) -> Event | Next | Alive | None:
    """Return a worker's next event; None if it has died."""
    try:
        event: Event | Next | Alive | Broken = worker.connection.recv()
    except (EOFError, ConnectionError):
        worker.process.join(5)
        return None
    worker.heard, worker.watching = time.monotonic(), True
    if isinstance(event, Unwell):
        log.warning("%s: %s", worker.spec.device, event.text)
        worker.unwell = True
        worker.process.join(5)
        return None
    if isinstance(event, Broken):
        raise error_named(event.kind, event.text)
    return event


def _heir(dead: Running, *, others: bool, begun: bool) -> Running | None:
    """Start a worker in a dead one's place, or, if its device is given up, leave its shards to the others.

    Raises:
        EmbedCorpusError: there is no other, or none ever came to begin.
    """
    text = f"worker {dead.process.name} hung for {_HANG / 60:.0f} minutes"
    if dead.dead:
        code = dead.process.exitcode
        text = f"worker {dead.process.name} died (exit code {code}; -9 is often the kernel short of memory)"
    faults = dead.faults + dead.unwell
    if begun and others and (dead.lives <= 1 or faults >= _FAULTS):
        log.warning("%s: %s is given up, the others go on without it", text, dead.spec.device)
        return None
    if begun and dead.lives > 1:
        log.warning("%s; another takes its place and does its open shards again", text)
        return Running(dead.spec, dead.lives - 1, faults)
    raise EmbedCorpusError(f"{text}. Finished parts are safe: run the same line again.")
