"""One worker process: a device, its loader, its writer."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import util
from threading import Lock, Thread
from typing import TYPE_CHECKING, NoReturn

from embed_corpus.chunk.compare import import_transformers
from embed_corpus.chunk.tokenizer import SLOW, tokenizer_of
from embed_corpus.data.records import digest
from embed_corpus.engine.base import BUSY
from embed_corpus.engine.encoders import load_encoder, lost_device
from embed_corpus.errors import EmbedCorpusError, OutputError
from embed_corpus.execution.loader import one_thread
from embed_corpus.execution.messages import Alive, Broken, Next, Unwell
from embed_corpus.execution.pipeline import Stages, embed_shards
from embed_corpus.execution.ranges import settle_ranges
from embed_corpus.execution.reuse import Reuse
from embed_corpus.execution.signals import ignore
from embed_corpus.execution.warmup import Beginning, feed, first_chunks, loader_for
from embed_corpus.job.fits import check_fit
from embed_corpus.job.late_chunking import check_late_chunking
from embed_corpus.report.events import Ended, Ready
from embed_corpus.report.stats import WorkerStats
from embed_corpus.store.cache import keep_kernels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from embed_corpus.data import Shard
    from embed_corpus.engine.base import ReadyEncoder
    from embed_corpus.execution.loader import Loader
    from embed_corpus.execution.messages import WorkerSpec

__all__ = ["work"]

_BEAT = 30.0
"""Seconds between signs of life."""
_leaving = Lock()


def work(connection: Connection, spec: WorkerSpec) -> None:
    """Run one worker to its end; errors travel as text, never as objects."""
    ignore()
    _end_with(connection)
    os.sched_setaffinity(0, spec.cores)
    # Read when torch's OpenMP is loaded: threads that wait shall sleep, not spin. On a machine with
    # other work to do, spinning costs up to 5x (measured), because it takes the cores from whoever
    # is being waited for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_kernels()
    parent = _Parent(connection)
    try:
        parent.send(Alive())
        _embed(parent, spec)
    except (BrokenPipeError, EOFError, ConnectionError):
        _leave()  # the parent is gone: nobody to report to, nothing half-done is visible
    except EmbedCorpusError as error:
        _report(parent, type(error).__name__, str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _report(parent, OutputError.__name__, f"{where}{error.strerror or error}. Run the same line again.")
    except RuntimeError as error:
        if not lost_device(spec.encoder, error):
            _report(parent, EmbedCorpusError.__name__, f"worker on {spec.device}:\n{traceback.format_exc()}")
        with contextlib.suppress(OSError):
            parent.send(Unwell(str(error).strip().splitlines()[0]))
        _leave()  # at once: what is left of the context on the device may hang
    except BaseException:  # noqa: BLE001  # the last stop before the process ends: all of it is told
        _report(parent, EmbedCorpusError.__name__, f"worker on {spec.device}:\n{traceback.format_exc()}")


def _end_with(connection: Connection) -> None:
    """Let this process end when its parent closes the connection, or is gone: nothing half-done is visible."""
    poll = select.poll()
    poll.register(connection.fileno(), 0)  # nothing but the end of the other side
    if (process := multiprocessing.parent_process()) is not None:  # someone else may have inherited that side
        poll.register(process.sentinel, select.POLLIN)

    def watch() -> None:
        poll.poll()
        _leave()

    Thread(target=watch, name="watch-parent", daemon=True).start()


def _leave() -> NoReturn:
    """End this process and its loaders at once, in whatever thread that is found to be due."""
    _leaving.acquire()  # for good: the first thread here ends them all
    try:
        for child in multiprocessing.active_children():
            child.kill()
        # The loaders' queues have semaphores with names, which outlive a process that does not take them back.
        util._run_finalizers(0)  # type: ignore[attr-defined]  # noqa: SLF001  # as an exit would, less the waiting
    finally:
        os._exit(1)


def _report(parent: _Parent, kind: str, text: str) -> None:
    with contextlib.suppress(OSError):
        parent.send(Broken(kind, text))
    sys.exit(1)


class _Parent:
    """The connection to the parent: the writer's thread tells it events, the reader's asks it for shards."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, Lock()

    def send(self, event: object) -> None:
        with self._lock:
            self._connection.send(event)

    def shards(self) -> Iterator[Shard]:
        while True:
            self.send(Next())
            shard: Shard | None = self._connection.recv()
            if shard is None:
                return
            yield shard


def _embed(parent: _Parent, spec: WorkerSpec) -> None:
    ready, sample, loader = _prepare(spec)
    try:
        encoder, numerics = ready.encoder, ready.encoder.numerics
        form = settle_ranges(spec, encoder, lambda: parent.send(Alive()))
        parent.send(Ready(numerics, ready.token_budget, ready.notes))
        loader = loader or loader_for(spec, sample, ready.rate)
        made_by = digest(numerics)
        stages = Stages(loader, encoder, form, spec.layout, made_by, Reuse(spec.earlier, made_by))
        if loader.workers:
            sys.setswitchinterval(0.0005)  # kernels are launched from here: no other thread shall hold it up for long
        Thread(target=_beat, args=(parent, stages), daemon=True).start()
        utilization = ready.watch()
        embed_shards(parent.shards(), stages, parent.send)
        stats = _stats(spec, stages, sample.lane, ready.matrix_rate, utilization())
        parent.send(Ended(stats, stages.sample.kept(), len(stages.sample)))
        encoder.close()
    finally:
        if loader is not None:
            loader.close()


def _prepare(spec: WorkerSpec) -> tuple[ReadyEncoder, Beginning, Loader | None]:
    """Make the encoder ready, and look at the beginning of the input; the loader runs if its size is known by then."""
    ahead = spec.loader_workers if spec.loader_workers is not None else spec.device != "cpu"
    facts = spec.encoder.facts
    if ahead:
        one_thread()
        import_transformers()  # here alone: two threads that import it at once can get half of it
    beside = ThreadPoolExecutor(1).submit(feed, spec) if ahead else None  # while the model is loaded
    loaded = load_encoder(spec.encoder)
    check_fit(tokenizer_of(facts), facts, loaded.known_ids)
    sample, loader = beside.result() if beside else (Beginning([], 0.0, replace(spec.recipe, fast=False), SLOW), None)
    try:
        ready = loaded.ready(lambda: sample.chunks or first_chunks(spec))  # not beside other work: it may time itself
        if spec.recipe.pass_tokens:
            check_late_chunking(ready)
    except BaseException:
        if loader is not None:
            loader.close()
        raise
    return ready, sample, loader


def _beat(parent: _Parent, stages: Stages) -> None:
    """Tell the parent now and then that there is progress; a worker that hangs falls silent."""
    last = -1
    while True:
        time.sleep(_BEAT)
        if stages.n_batches != last:
            last = stages.n_batches
            with contextlib.suppress(OSError):
                parent.send(Alive())


def _stats(spec: WorkerSpec, stages: Stages, lane: str, matrix_rate: float, utilization: float | None) -> WorkerStats:
    elapsed = time.perf_counter() - stages.begin
    seconds = stages.loader.seconds | stages.seconds | stages.on_device
    return WorkerStats(
        device=spec.device,
        elapsed=elapsed,
        seconds={stage: round(value, 3) for stage, value in seconds.items()},
        busy=stages.on_device.get(BUSY, 0.0),
        flops_per_s=stages.flops / max(elapsed, 1e-9),
        matrix_rate=matrix_rate,
        utilization=utilization,
        loaders=stages.loader.workers,
        cores=len(spec.cores),
        lane=lane,
        reused=stages.reuse.tokens,
    )
