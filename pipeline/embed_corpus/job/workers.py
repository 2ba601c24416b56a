"""One spawned process per device: the parent hands out shards, the workers embed and commit them."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from embed_corpus.data import Counts
from embed_corpus.errors import EmbedCorpusError, error_named
from embed_corpus.job.pipeline import Committed, Embedded, Failed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from multiprocessing.connection import Connection

    from embed_corpus.data import Shard
    from embed_corpus.engine.facts import ModelFacts
    from embed_corpus.job.loader import Chunking
    from embed_corpus.report.stats import WorkerStats
    from embed_corpus.sink.layout import Layout
    from embed_corpus.sink.parts import PartFormat
    from embed_corpus.source.inspect import Columns

__all__ = ["Alive", "Broken", "Ended", "Event", "Lost", "Next", "Ready", "WorkerSpec", "run_workers"]

log = logging.getLogger("embed_corpus")


@dataclass(frozen=True)
class WorkerSpec:
    """Everything a worker needs, as plain values: it crosses the process boundary once.

    `cores` are those it may use; `loader_workers` None: as many as its device needs.
    """

    device: str
    cores: frozenset[int]
    loader_workers: int | None
    facts: ModelFacts
    columns: Columns
    chunking: Chunking
    precision: str
    token_budget: int | None
    compiled: bool
    force_fp8: bool
    samples: tuple[Shard, ...]
    form: PartFormat
    layout: Layout


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker can begin; `numerics` is what can change its vectors' bits, `notes` what its user should know."""

    numerics: dict[str, Any]
    token_budget: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker has no shard left."""

    stats: WorkerStats


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker died: rows that were embedded and must be again, as negative counts."""

    counts: Counts


@dataclass(frozen=True, slots=True)
class Alive:
    """A worker has got on since it last said so; it says so by this where nothing else comes of it."""


@dataclass(frozen=True, slots=True)
class Next:
    """A worker asks for a shard."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A worker cannot go on: an error of `errors.py` by name, or a traceback."""

    kind: str
    text: str


Event = Ready | Embedded | Committed | Failed | Lost | Ended

_HANG = 1800.0
"""Seconds without any progress after which a worker is taken for hung: a batch of the largest model on a CPU,
or a document of the greatest size, takes some minutes."""
_LIVES = 3
"""Processes that a worker's place gets, one after the other; then its device is given up."""


class _Running:
    """One worker process, and what it holds that is not committed yet."""

    def __init__(self, spec: WorkerSpec, lives: int = _LIVES) -> None:
        from embed_corpus.job.worker import work

        context = multiprocessing.get_context("spawn")
        self.spec, self.lives = spec, lives
        self.ready = self.dead = False
        self.shards: list[Shard] = []
        self.counts = Counts()
        self.heard = time.monotonic()
        self.connection, theirs = context.Pipe()
        # No daemon: it may have loader processes of its own. Workers end with this process all the same.
        self.process = context.Process(target=work, args=(theirs, spec), name=f"embed-{spec.device}", daemon=False)
        self.process.start()
        theirs.close()

    def take(self, event: Event) -> None:
        """Keep the account of what would be lost with this process."""
        match event:
            case Ready():
                self.ready = True
            case Embedded(counts):
                self.counts += counts
            case Committed(shard) | Failed(shard):
                self.shards = [s for s in self.shards if s.id != shard.id]
                self.counts = Counts()

    def hangs(self) -> bool:
        """Tell whether a worker that had begun has not got on for too long."""
        return self.ready and time.monotonic() - self.heard > _HANG

    def end(self) -> None:
        """Stop the process, whatever it is doing."""
        self.process.terminate()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def run_workers(specs: Iterable[WorkerSpec], shards: Iterable[Shard]) -> Generator[Event, None, None]:
    """Embed shards on one process per spec, each taking the next shard when it is free.

    Yields the workers' events as they come. A worker that dies or hangs is replaced and its shards
    are done again; a device whose workers die again and again is given up. Whatever ends this, no process
    is left behind.

    Raises:
        EmbedCorpusError: a worker reported an error, or the last one died.
    """
    todo = deque(shards)
    running: dict[Connection, _Running] = {}
    begun = False
    try:
        for spec in specs:
            worker = _Running(spec)
            running[worker.connection] = worker
        while running:
            for connection in _waited(running):
                worker = running[connection]
                event = _received(worker)
                if isinstance(event, Next):
                    shard = todo.popleft() if todo else None
                    worker.shards += [shard] if shard else []
                    with contextlib.suppress(OSError):  # if it has died meanwhile, receiving from it will tell
                        worker.connection.send(shard)
                elif event is None:
                    worker.dead = True
                elif not isinstance(event, Alive):
                    begun |= isinstance(event, Ready)
                    worker.take(event)
                    yield event
                if isinstance(event, Ended):
                    running.pop(worker.connection).process.join()
            for worker in [worker for worker in running.values() if worker.dead or worker.hangs()]:
                worker.end()
                running.pop(worker.connection)
                todo.extendleft(reversed(worker.shards))
                yield Lost(-worker.counts)
                if (heir := _heir(worker, others=bool(running), begun=begun)) is not None:
                    running[heir.connection] = heir
        if todo:
            raise EmbedCorpusError("the last worker ended before all was done: run the same line again.")
    finally:
        for worker in running.values():
            worker.end()


def _waited(running: dict[Connection, _Running]) -> list[Connection]:
    """Wait for events, for some time; if this process itself was stopped meanwhile, no worker is to blame."""
    begin = time.monotonic()
    found: list[Connection] = wait(list(running), timeout=_HANG / 4)  # type: ignore[assignment]  # no other was given
    if time.monotonic() - begin > _HANG / 2:
        for worker in running.values():
            worker.heard = time.monotonic()
    return found


def _received(worker: _Running) -> Event | Next | Alive | None:
    """Return a worker's next event; None if it has died."""
    try:
        event: Event | Next | Alive | Broken = worker.connection.recv()
    except (EOFError, ConnectionError):
        worker.process.join(5)
        return None
    worker.heard = time.monotonic()
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
