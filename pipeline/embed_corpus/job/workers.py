"""One spawned process per device: the parent hands out shards, the workers embed and commit them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from embed_corpus.engine.cache import keep_kernels
from embed_corpus.errors import EmbedCorpusError, OutputError, error_named
from embed_corpus.job.fingerprint import digest
from embed_corpus.job.pipeline import Committed, Embedded, Failed

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from embed_corpus.data import Shard
    from embed_corpus.engine.facts import ModelFacts
    from embed_corpus.sink.layout import Layout
    from embed_corpus.sink.parts import PartFormat
    from embed_corpus.source.inspect import Columns

__all__ = ["Ended", "Ready", "WorkerSpec", "run_workers"]


@dataclass(frozen=True)
class WorkerSpec:
    """Everything a worker needs, as plain values: it crosses the process boundary once."""

    device: str
    threads: int
    facts: ModelFacts
    columns: Columns
    chunk_tokens: int
    chunk_overlap: int
    truncate: bool
    precision: str
    token_budget: int | None
    compiled: bool
    force_fp8: bool
    sample: Shard
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
    """A worker has no shard left; seconds it spent by stage."""

    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Next:
    """A worker asks for a shard."""


@dataclass(frozen=True, slots=True)
class _Broken:
    """A worker cannot go on: an error of `errors.py` by name, or a traceback."""

    kind: str
    text: str


_FP8_SAMPLE = 512
"""Chunks, about, on which fp8 is judged."""

Event = Ready | Embedded | Committed | Failed | Ended


def run_workers(specs: Iterable[WorkerSpec], shards: Iterable[Shard]) -> Generator[Event, None, None]:
    """Embed shards on one process per spec, each taking the next shard when it is free.

    Yields the workers' events as they come. Whatever ends this, no process is left behind.

    Raises:
        EmbedCorpusError: a worker reported an error, or died.
    """
    context = multiprocessing.get_context("spawn")
    todo = iter(shards)
    running: dict[Connection, BaseProcess] = {}
    ready: set[Connection] = set()
    try:
        for spec in specs:
            ours, theirs = context.Pipe()
            process: BaseProcess = context.Process(
                target=_worker, args=(theirs, spec), name=f"embed-{spec.device}", daemon=True
            )
            process.start()
            theirs.close()
            running[ours] = process
        while running:
            for connection in wait(list(running)):
                assert isinstance(connection, multiprocessing.connection.Connection)
                event = _received(connection, running[connection], ready=connection in ready)
                if isinstance(event, _Next):
                    with contextlib.suppress(OSError):  # if it has died meanwhile, receiving from it will tell
                        connection.send(next(todo, None))
                    continue
                yield event
                if isinstance(event, Ready):
                    ready.add(connection)
                if isinstance(event, Ended):
                    running.pop(connection).join()
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


def _received(connection: Connection, process: BaseProcess, *, ready: bool) -> Event | _Next:
    try:
        event: Event | _Next | _Broken = connection.recv()
    except (EOFError, ConnectionError):
        process.join(5)
        hint = "" if ready else ' Called from Python, run() must stand under if __name__ == "__main__".'
        raise EmbedCorpusError(
            f"worker {process.name} died (exit code {process.exitcode}; -9 is often the kernel short of memory). "
            f"Finished parts are safe: run the same line again.{hint}"
        ) from None
    if isinstance(event, _Broken):
        raise error_named(event.kind, event.text)
    return event


def _worker(connection: Connection, spec: WorkerSpec) -> None:
    """Run one worker to its end; errors travel as text, never as objects."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    try:
        for event in _embed(connection, spec):
            connection.send(event)
    except (BrokenPipeError, EOFError, ConnectionError):
        os._exit(1)  # the parent is gone: nobody to report to, nothing half-done is visible
    except EmbedCorpusError as error:
        _report(connection, type(error).__name__, str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _report(connection, OutputError.__name__, f"{where}{error.strerror or error}. Run the same line again.")
    except BaseException:  # noqa: BLE001  # the last stop before the process ends: all of it is told
        _report(connection, EmbedCorpusError.__name__, f"worker on {spec.device}:\n{traceback.format_exc()}")


def _report(connection: Connection, kind: str, text: str) -> None:
    with contextlib.suppress(OSError):
        connection.send(_Broken(kind, text))
    sys.exit(1)


def _embed(connection: Connection, spec: WorkerSpec) -> Iterator[Event]:
    # Read when torch's OpenMP is loaded: threads that wait shall sleep, not spin. On a machine with
    # other work to do, spinning costs up to 5x (measured), because it takes the cores from whoever
    # is being waited for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_kernels()
    import torch

    from embed_corpus.chunk.tokenizer import WordTokenizer
    from embed_corpus.chunk.windows import Chunker
    from embed_corpus.engine.encoder import Encoder, numerics
    from embed_corpus.engine.ready import check_fp8, get_ready
    from embed_corpus.job.pipeline import Stages, embed_shards, first_chunks

    torch.set_num_threads(spec.threads)
    tokenizer = WordTokenizer(spec.facts.folder)
    prompt = spec.facts.document_prompt
    chunker = Chunker(tokenizer, spec.chunk_tokens, spec.chunk_overlap, prompt, truncate=spec.truncate)
    encoder = Encoder(spec.facts, spec.device, spec.precision, spec.chunk_tokens, compiled=spec.compiled)
    notes = get_ready(encoder, spec.token_budget)
    stages = Stages(spec.columns, chunker, encoder, spec.form, spec.layout, digest(numerics(encoder)))
    if spec.precision == "fp8":
        notes.append(check_fp8(encoder, first_chunks(spec.sample, stages, _FP8_SAMPLE), forced=spec.force_fp8))
    encoder.release()
    yield Ready(numerics(encoder), encoder.token_budget, tuple(notes))
    yield from embed_shards(_handed_out(connection), stages)
    yield Ended(stages.seconds)


def _handed_out(connection: Connection) -> Iterator[Shard]:
    while True:
        connection.send(_Next())
        shard: Shard | None = connection.recv()
        if shard is None:
            return
        yield shard
