"""One spawned process per device: the parent hands out shards, the workers embed and commit them."""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from embed_corpus.data import Counts
from embed_corpus.errors import EmbedCorpusError, error_named
from embed_corpus.job.messages import Alive, Broken, Elsewhere, Ended, Event, Lost, Next, Ready, WorkerSpec
from embed_corpus.job.pipeline import Committed, Embedded, Failed
from embed_corpus.job.signals import blocked

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Sequence
    from multiprocessing.connection import Connection

    from embed_corpus.data import Shard
    from embed_corpus.job.claims import Queue
    from embed_corpus.job.signals import Stop

__all__ = ["run_workers"]

log = logging.getLogger("embed_corpus")


_HANG = 1800.0
"""Seconds without any progress after which a worker is taken for hung: a batch of the largest model on a CPU,
or a document of the greatest size, takes some minutes."""
_LIVES = 3
"""Processes that a worker's place gets, one after the other; then its device is given up."""
_PATIENCE = 1.5
"""Seconds that workers have to end of themselves; then they are killed."""


class _Running:
    """One worker process, and what it holds that is not committed yet."""

    def __init__(self, spec: WorkerSpec, lives: int = _LIVES) -> None:
        from embed_corpus.job.worker import work

        context = multiprocessing.get_context("spawn")
        self.spec, self.lives = spec, lives
        self.watching = self.ended = self.dead = False
        self.ready: float | None = None
        self.shards: list[Shard] = []
        self.counts = Counts()
        self.rows = 0
        self.last: str | None = None
        self.heard = time.monotonic()
        self.connection, theirs = context.Pipe()
        # No daemon: it may have loader processes of its own. Workers end with this process all the same.
        self.process = context.Process(target=work, args=(theirs, spec), name=f"embed-{spec.device}", daemon=False)
        with blocked():
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

    def hangs(self) -> bool:
        """Tell whether a worker that had begun has not got on for too long."""
        return self.ready is not None and time.monotonic() - self.heard > _HANG

    def seconds_left(self) -> float:
        """Predict how long the shard under way will take, by this worker's speed so far."""
        if self.ready is None or not self.shards or not self.rows:
            return math.inf
        each = (time.monotonic() - self.ready) / self.rows
        return (self.shards[0].n_rows - self.counts.rows) * each


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
        _end(crew.running.values())


class _Crew:
    """The workers that run, and when they have to stop."""

    def __init__(self, queue: Queue, stop: Stop, grace: float) -> None:
        self.running: dict[Connection, _Running] = {}
        self.given_up = False
        self._queue, self._stop, self._grace = queue, stop, grace
        self._begun = False
        self._deadline: float | None = None

    def start(self, specs: Iterable[WorkerSpec]) -> None:
        for spec in specs:
            worker = _Running(spec)
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

    def _answer(self, worker: _Running) -> None:
        """Give a worker the next shard; None lets it finish what it has, and end."""
        shard = None if self._stop.count else self._queue.take()
        worker.shards += [shard] if shard else []
        with contextlib.suppress(OSError):  # if it has died meanwhile, receiving from it will tell
            worker.connection.send(shard)

    def _replaced(self) -> Generator[Event, None, None]:
        """Put others in the place of the dead and the hung, but for those that were done."""
        for worker in [worker for worker in self.running.values() if worker.dead or worker.hangs()]:
            _end([worker])
            self.running.pop(worker.connection)
            if worker.ended:
                continue
            self._queue.give_back(worker.shards)
            yield Lost(-worker.counts)
            if (heir := _heir(worker, others=bool(self.running), begun=self._begun)) is not None:
                self.running[heir.connection] = heir
            else:
                self.given_up = True

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
        _end(ends)
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


def _end(workers: Collection[_Running]) -> None:
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


def _received(worker: _Running) -> Event | Next | Alive | None:
    """Return a worker's next event; None if it has died."""
    try:
        event: Event | Next | Alive | Broken = worker.connection.recv()
    except (EOFError, ConnectionError):
        worker.process.join(5)
        return None
    worker.heard, worker.watching = time.monotonic(), True
    if isinstance(event, Broken):
        raise error_named(event.kind, event.text)
    return event


def _heir(dead: _Running, *, others: bool, begun: bool) -> _Running | None:
    """Start a worker in a dead one's place, or, if its device is given up, leave its shards to the others.

    Raises:
        EmbedCorpusError: there is no other, or none ever came to begin.
    """
    text = f"worker {dead.process.name} hung for {_HANG / 60:.0f} minutes"
    if dead.dead:
        code = dead.process.exitcode
        text = f"worker {dead.process.name} died (exit code {code}; -9 is often the kernel short of memory)"
    if begun and dead.lives > 1:
        log.warning("%s; another takes its place and does its open shards again", text)
        return _Running(dead.spec, dead.lives - 1)
    if begun and others:
        log.warning("%s, the third in its place: %s is given up, the others go on", text, dead.spec.device)
        return None
    hint = "" if begun else ' Called from Python, run() must stand under if __name__ == "__main__".'
    raise EmbedCorpusError(f"{text}. Finished parts are safe: run the same line again.{hint}")
