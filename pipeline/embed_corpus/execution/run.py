"""The run itself: prepare, embed, publish, index, report."""

from __future__ import annotations

import logging
import os
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from embed_corpus.data import Counts
from embed_corpus.data.records import digest
from embed_corpus.engine.base import EncoderSpec
from embed_corpus.errors import EmbedCorpusError, Interrupted, LaneError
from embed_corpus.execution.acceptance import problem_with, stop_if_hopeless
from embed_corpus.execution.claims import Queue
from embed_corpus.execution.executor import EXECUTORS
from embed_corpus.execution.messages import WorkerSpec
from embed_corpus.execution.pipeline import CHANGED
from embed_corpus.execution.ranges import calibration_shards, restore_ranges, warn_of_few
from embed_corpus.execution.signals import heeded
from embed_corpus.execution.tally import Tally
from embed_corpus.index.build import build_index
from embed_corpus.job.devices import cores_of
from embed_corpus.job.identity import of_other_content
from embed_corpus.job.prepare import Job, prepare
from embed_corpus.job.speeds import note_rate, predicted_seconds
from embed_corpus.report.events import Elsewhere, Failed, Ready, Started
from embed_corpus.report.observers import default_observers, telling
from embed_corpus.report.summary import Loss, RunReport
from embed_corpus.sink.documents import publish_documents
from embed_corpus.sink.quarantine import distrust, set_aside
from embed_corpus.sink.readback import part_stats
from embed_corpus.sink.snapshot import PartEntry, Snapshot, entries, publish_snapshot
from embed_corpus.store.commit import alone_on
from embed_corpus.store.layout import Layout
from embed_corpus.store.notes import replace_json
from embed_corpus.vectors.table import vector_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embed_corpus.job.config import JobConfig
    from embed_corpus.report.observers import Observer

__all__ = ["run"]

log = logging.getLogger("embed_corpus")

_SAMPLED = 20
"""Shards whose beginnings serve as a sample, if the first ones are short."""


def run(config: JobConfig, progress: TextIO | None = None, observers: Sequence[Observer] = ()) -> RunReport:
    """Embed a corpus: do what `embed-corpus run` does, and return what was done.

    `progress` is where a bar is drawn if it is a terminal; without one, log lines come. `observers` are
    told of the run's events, too.
    What was finished before (by whatever run of the same job) is not done again.

    Raises:
        UsageError, ModelError, DataError: something does not fit, found before the first batch.
        DataError: a source turned out unreadable in mid-run; all others are embedded.
        BudgetError: more rows were rejected than allowed; all others are embedded.
        OutputError, StoreError: OUT cannot be written.
        Interrupted: SIGTERM, SIGINT or SIGUSR1 came in mid-run (heeded only in the main thread).
    """
    layout = Layout(config.out.absolute())
    with alone_on(layout.store.local(layout.meta)) if config.single_writer else nullcontext():
        return _run(config, progress, observers)


def _run(config: JobConfig, progress: TextIO | None, observers: Sequence[Observer]) -> RunReport:
    job = prepare(config)
    warn_of_few(job.layout, config.vector_type, job.plan.rows)
    tally = Tally()
    observers = (tally, *default_observers(progress), *observers)
    try:
        _embed(job, tally, observers)
    except LaneError as error:
        n_aside = _set_aside_fresh(job)
        raise LaneError(
            f"{error} The {n_aside} parts of this run are set aside: run the same line again, it goes on without the "
            "fast tokenizer."
        ) from error
    if vector_type(config.vector_type).needs_ranges:
        restore_ranges(job.layout)
    names = [shard.part_name for shard in job.plan.shards]
    present = set(job.layout.parts())
    parts = entries(job.layout, [name for name in names if name in present])
    if config.doc_vectors == "mean":
        for part in parts:  # of a run that did not ask for them, or ended before it made them
            publish_documents(job.layout, part.name)
    problem = problem_with(job, parts, tally.failed)
    snapshot = None if problem else _publish(job, parts)
    indexed = None
    if snapshot is not None and config.index != "none":
        try:
            indexed = _index(job, snapshot, progress)
        except EmbedCorpusError as error:
            problem = error  # the result stands all the same
    report = _report(job, tally, parts, snapshot, indexed, problem)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    replace_json(job.layout, job.layout.runs / f"{stamp}-{os.getpid()}.json", report.to_json())
    for observer in observers:
        observer.done(report)
    if problem:
        raise problem
    return report


def _report(
    job: Job,
    tally: Tally,
    parts: list[PartEntry],
    snapshot: Snapshot | None,
    indexed: int | None,
    problem: EmbedCorpusError | None,
) -> RunReport:
    """Put together what the run did, and note its speed for the next one."""
    vector_type = job.config.vector_type
    return RunReport(
        output=job.config.out,
        total=sum((part.counts for part in parts), start=Counts()),
        fresh=tally.counts,
        parts=len(parts),
        fresh_parts=tally.parts,
        planned=len(job.plan.shards),
        elapsed=tally.elapsed,
        predicted=_predict_and_note(job, tally),
        workers=tuple(tally.workers),
        numerics=tally.numerics,
        snapshot=snapshot.number if snapshot else None,
        index=indexed,
        bad_files=job.bad,
        loss=Loss(vector_type, tally.kept / tally.sampled, int(tally.sampled)) if tally.sampled else None,
        problems=(str(problem),) if problem else (),
    )


def _index(job: Job, snapshot: Snapshot, stream: TextIO | None) -> int | None:
    """Build or extend the index; returns its vectors, None if there are none."""
    facts, request = job.facts, job.config.index_request
    similarity, unit = facts.similarity, facts.normalize
    made = build_index(job.layout, snapshot, request, similarity=similarity, normalized=unit, stream=stream)
    return made.rows if made else None


def _predict_and_note(job: Job, tally: Tally) -> float | None:
    """Return the seconds that this run would have been given by the speed known before it, and note its own."""
    if not tally.counts.tokens or job.earlier:  # vectors that are taken over take no time
        return None
    devices = job.devices[: len(job.todo)]
    known = (job.facts, job.precision)
    predicted = predicted_seconds(tally.counts.tokens, *known, devices, job.recipe.longest)
    if job.config.compile and job.config.batch_tokens is None and not tally.elsewhere:  # else it may have waited
        each = tally.counts.tokens / tally.elapsed / len(devices)
        budget = tally.numerics["token_budget"]
        note_rate(*known, devices[0], job.recipe.longest, each, budget, run_seconds=tally.elapsed)
    return predicted


def _embed(job: Job, tally: Tally, observers: Sequence[Observer]) -> None:
    """Run the workers over the shards that have no part yet, and tell the observers, `tally` among them."""
    if not job.todo:
        return
    if len(job.todo) < len(job.plan.shards):
        done = len(job.plan.shards) - len(job.todo)
        log.info("going on: %d of %d parts are there already", done, len(job.plan.shards))
    devices = job.devices[: len(job.todo)]
    log.info("loading the model on %s", ", ".join(devices))
    specs = [_spec(job, device, cores) for device, cores in zip(devices, cores_of(devices), strict=True)]
    # Several devices end together if the largest shards do not come last.
    todo = sorted(job.todo, key=lambda shard: -shard.n_rows) if len(devices) > 1 else job.todo
    with (
        heeded() as stop,
        Queue(todo, job.layout) as queue,
        closing(EXECUTORS["local"](specs, queue, stop, job.config.grace)) as events,
        telling(observers, Started(len(todo), sum(shard.n_rows for shard in todo))) as tell,
    ):
        for event in events:
            if isinstance(event, Ready) and not tally.numerics:
                _warn_of_others(job, event)
            tell(event)
            if isinstance(event, Elsewhere) and of_other_content(job.layout, event.shard, job.config.columns):
                tell(Failed(event.shard, CHANGED.format(event.shard.path)))
            stop_if_hopeless(job, tally.seen)
    if stop.count:
        raise _stopped(job, tally)
    if tally.elsewhere:
        log.info("%d parts were made by another run meanwhile", tally.elsewhere)


def _stopped(job: Job, tally: Tally) -> Interrupted:
    """Clear away what killed workers left, and say how far the run came."""
    job.layout.sweep()
    planned = {shard.part_name for shard in job.plan.shards}
    n_there = len(planned.intersection(job.layout.parts()))
    far = f"{n_there} of {len(planned)} parts are finished, {tally.parts} of them by this run."
    return Interrupted(f"{Interrupted.told} {far}")


def _warn_of_others(job: Job, ready: Ready) -> None:
    """Say so if parts that are there were made under other numerics; a look at some tells."""
    done = {shard.part_name for shard in job.plan.shards} - {shard.part_name for shard in job.todo}
    ours = digest(ready.numerics)
    others = [name for name in sorted(done)[:100] if part_stats(job.layout, name).get("numerics", ours) != ours]
    if others:
        log.warning(
            "parts of an earlier run, e.g. %s, were made with other versions, hardware or layers: "
            "equal texts may differ in their last bits",
            others[0],
        )


def _spec(job: Job, device: str, cores: frozenset[int]) -> WorkerSpec:
    config = job.config
    return WorkerSpec(
        encoder=EncoderSpec(
            device,
            job.facts,
            job.precision,
            job.recipe.longest,
            token_budget=config.batch_tokens,
            compiled=config.compile,
            force_fp8=config.force_fp8,
            cores=len(cores),
        ),
        cores=cores,
        loader_workers=config.loader_workers,
        columns=config.columns,
        recipe=replace(job.recipe, fast=config.fast_tokenizer and not job.layout.store.stat(job.layout.slow_tokenizer)),
        samples=job.todo[:_SAMPLED],
        form=job.form,
        calibration=calibration_shards(job.plan.shards, job.record.hash),
        seed=job.record.hash,
        layout=job.layout,
        earlier=job.earlier,
    )


def _set_aside_fresh(job: Job) -> int:
    """Take the parts back that came since this run began, and note not to use a fast tokenizer again."""
    present = set(job.layout.parts())
    return distrust(job.layout, [shard.part_name for shard in job.todo if shard.part_name in present])


def _publish(job: Job, parts: list[PartEntry]) -> Snapshot:
    """Publish the snapshot, and (--prune) set aside what it does not list."""
    snapshot = publish_snapshot(job.layout, parts)
    for name in job.stale:
        set_aside(job.layout, name, job.layout.superseded)
    return snapshot
