"""Everything that is settled and checked before the first batch."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embed_corpus.data import Counts
from embed_corpus.data.records import differences
from embed_corpus.errors import OutputError, UsageError
from embed_corpus.index.check import check_indexable
from embed_corpus.job.devices import resolve_devices, resolve_precision
from embed_corpus.job.earlier import Earlier
from embed_corpus.job.fingerprint import job_record, space_record
from embed_corpus.job.identity import identified
from embed_corpus.job.newest import newest_rows
from embed_corpus.job.prompts import model_of
from embed_corpus.job.recipe import recipe_of
from embed_corpus.job.record import JobFile, LastRun, read_job_file
from embed_corpus.job.replaced import taken_from
from embed_corpus.sink.parts import PartFormat
from embed_corpus.sink.quarantine import set_aside, set_distrusted_aside
from embed_corpus.sink.readback import part_stats
from embed_corpus.source.discover import discover, told_left_out
from embed_corpus.source.inspected import read_known, to_json
from embed_corpus.source.plan import Plan, inspect_good, kept_types, make_plan
from embed_corpus.store.layout import Layout
from embed_corpus.store.local import is_open_to_all
from embed_corpus.store.notes import publish_json, replace_json
from embed_corpus.vectors.codec import Codec
from embed_corpus.vectors.table import vector_type

if TYPE_CHECKING:
    import pyarrow as pa

    from embed_corpus.chunk.recipe import ChunkRecipe
    from embed_corpus.data import Shard
    from embed_corpus.job.config import JobConfig
    from embed_corpus.job.earlier import Replaced
    from embed_corpus.job.record import JobRecord
    from embed_corpus.model.facts import ModelFacts
    from embed_corpus.source.formats.base import Source
    from embed_corpus.source.inspected import Known

__all__ = ["Job", "prepare", "warn_of_bad"]

log = logging.getLogger("embed_corpus")


@dataclass(frozen=True)
class Job:
    """A job that can begin: model, plan and OUT fit together.

    `todo` are the shards without a part, in plan order; `stale` the parts that the plan
    does not have (only with --prune); `bad` the source files left out because they cannot be read, with the reason;
    `earlier` the parts whose vectors may be taken over, by shard id.
    """

    config: JobConfig
    facts: ModelFacts
    layout: Layout
    plan: Plan
    form: PartFormat
    recipe: ChunkRecipe
    record: JobRecord
    precision: str
    devices: tuple[str, ...]
    todo: tuple[Shard, ...]
    stale: tuple[str, ...]
    bad: dict[str, str]
    earlier: dict[str, tuple[Earlier | Replaced, ...]]


def prepare(config: JobConfig) -> Job:
    """Settle model, input, plan and OUT, and check what can be checked without the model's weights.

    Raises:
        UsageError, ModelError, DataError, OutputError: saying what is wrong and what to do.
    """
    devices = resolve_devices(config.devices)
    facts = model_of(config)
    if config.index != "none":
        binary = vector_type(config.vector_type).binary
        check_indexable(facts.similarity, config.index_request, facts.dim, binary=binary)
    recipe = recipe_of(config, facts)
    precision = resolve_precision(config.precision, devices[0], facts.family)
    layout = Layout(config.out.absolute(), config.single_writer)
    log.info(
        "model %s (%s, %d dimensions, %s pooling)%s; chunks of %d tokens, overlap %d%s; %s on %s",
        config.model or "all-MiniLM-L6-v2, bundled, as no --model was named",
        facts.family,
        facts.dim,
        facts.pooling,
        f", document prompt {facts.document_prompt!r}" if facts.document_prompt else "",
        recipe.chunk_tokens,
        recipe.overlap,
        f", in passes of {recipe.pass_tokens}" if recipe.pass_tokens else "",
        precision,
        ", ".join(devices),
    )
    looked_at = time.time_ns()
    known = read_known(layout, config.columns)
    sources, bad = _look(config, layout, known)
    keep_types = kept_types(sources, config.columns)
    space = space_record(facts)
    recipe.chunker()  # raises if unfit
    record = job_record(config, space, recipe, precision, keep_types)
    sources, unsure = identified(sources, config, layout, record.hash, known)
    plan, note_newest = newest_rows(layout, make_plan(sources, record.hash, config.limit), config)
    named = {shard.part_name: shard for shard in plan.shards}
    _check_space(layout, Codec(config.vector_type, facts.dim).n_bytes, named)
    _adopt(layout, JobFile.of(record), overwrite=config.overwrite)
    note_newest()
    set_distrusted_aside(layout)
    aside = _retry(layout, named) if config.retry_rejects else {}
    todo, stale = _compare(layout, plan, named, prune=config.prune)
    replaced = taken_from(layout, plan, todo, stale)
    earlier: dict[str, tuple[Earlier | Replaced, ...]] = {}
    if not recipe.pass_tokens:  # else a vector depends on its whole document: nothing is taken over
        earlier = {shard: (*aside.get(shard, ()), *replaced.get(shard, ())) for shard in {**aside, **replaced}}
    form = _form(config, facts, keep_types, record)
    _note_run(layout, config, facts, plan, devices, bad)
    noted = to_json(sources, config.columns, looked_at, unsure)
    if noted["sources"] != known:
        replace_json(layout, layout.sources, noted)
    return Job(config, facts, layout, plan, form, recipe, record, precision, devices, todo, stale, bad, earlier)


def _form(config: JobConfig, facts: ModelFacts, keep_types: dict[str, pa.DataType], record: JobRecord) -> PartFormat:
    """Return what every part looks like."""
    of_documents = config.doc_vectors == "mean"
    looks = facts.dim, config.vector_type, keep_types, config.keep_text
    return PartFormat(*looks, record.in_parts(), facts.normalize, config.reject_bytes, of_documents)


def _look(config: JobConfig, layout: Layout, known: Known) -> tuple[list[Source], dict[str, str]]:
    """Find and inspect the source files that are not known: the good, and the bad with reasons."""
    found, left_out = discover(config.input, layout.root, config.format, config.text_column)
    if left_out:
        log.warning("%s", told_left_out(left_out))
    log.info("looking at %d source files", len(found))
    sources, bad = inspect_good(found, config.columns, {} if config.paranoid else known, config.max_bad_files)
    warn_of_bad(bad)
    return sources, bad


def warn_of_bad(bad: dict[str, str]) -> None:
    """Name each file that is left out because it cannot be read."""
    for reason in bad.values():
        log.warning("left out (--max-bad-files): %s", reason)


def _adopt(layout: Layout, ours: JobFile, *, overwrite: bool) -> None:
    """Make OUT this job's, or find that it is; with `overwrite` another job's OUT is emptied first."""
    root, store = layout.root, layout.store
    try:
        present = set(store.list(layout.out))
    except OSError as error:
        raise UsageError(f"OUT {root} cannot be used: {error.strerror}. Name a folder.") from error
    there = store.stat(layout.job) is not None
    if not there and present - {"_embed"}:
        raise UsageError(
            f"OUT {root} holds files that are not ours (e.g. {min(present - {'_embed'})}): name an empty or new folder."
        )
    if os.geteuid() == 0 and is_open_to_all(store.local(layout.out)):
        log.warning("OUT %s can be written by everyone, and this is root: others could replace what it writes", root)
    if there:
        try:
            theirs = read_job_file(layout)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"OUT {root}: {layout.job} is damaged: name another OUT, or delete this one.") from error
        if theirs.hash == ours.hash:
            layout.sweep()
            return
        if not overwrite:
            changed = "\n  ".join(differences(ours.fields, theirs.fields))
            raise UsageError(
                f"OUT {root} belongs to another job. What differs:\n  {changed}\n"
                "Name another OUT, or run with --overwrite to delete that result first."
            )
        log.warning("--overwrite: deleting the result of another job in %s", root)
        store.delete(layout.ranges)  # of other vectors, should the rest be cut short
        # The mark of a recognised OUT goes last.
        for folder in (layout.index, layout.documents, layout.data, layout.meta):
            store.delete(folder)
    if publish_json(layout, layout.job, ours.to_json()) == "lost":
        _adopt(layout, ours, overwrite=False)  # another run was faster: is it of the same job?
    layout.sweep()  # a run may have been killed over this very file


def _retry(layout: Layout, named: dict[str, Shard]) -> dict[str, tuple[Earlier, ...]]:
    """Set aside the parts of shards that had rejects, so that these are done again; returns them by shard id."""
    earlier: dict[str, tuple[Earlier, ...]] = {}
    for name in layout.parts():
        if name in named and (stats := part_stats(layout, name)) and Counts(**stats["counts"]).budgeted:
            log.info("%s had rejects: what was rejected is done again", name)
            aside = set_aside(layout, name, layout.quarantine)
            if aside is not None and not layout.store.stat(layout.slow_tokenizer):  # else its ids may be others
                words = stats["counts"]["cut_words"]
                earlier[named[name].id] = (Earlier(layout, aside, stats["sha256"], stats.get("numerics", ""), words),)
    return earlier


def _compare(
    layout: Layout, plan: Plan, named: dict[str, Shard], *, prune: bool
) -> tuple[tuple[Shard, ...], tuple[str, ...]]:
    """Tell the shards that have no part yet, and the parts that have no shard in the plan."""
    present = set(layout.parts())
    stale = tuple(sorted(present - named.keys()))
    if stale and not prune:
        raise UsageError(
            f"{len(stale)} parts in {layout.data} are not of this plan (e.g. {stale[0]}): an input changed or is gone, "
            "newer rows stand for theirs, or --limit differs. Run with --prune to set them aside, or name another OUT."
        )
    publish_json(layout, layout.plans / f"{plan.id}.json", plan.to_json())
    return tuple(shard for name, shard in named.items() if name not in present), stale


def _check_space(layout: Layout, vector_bytes: int, named: dict[str, Shard]) -> None:
    """Refuse to begin what the disk cannot hold: a row without a part gives a vector at least."""
    present = set(layout.parts())
    rows = sum(shard.n_rows for name, shard in named.items() if name not in present)
    least = int(1.1 * rows * (vector_bytes + 64))
    free = layout.store.room()
    if free is not None and least > free:
        raise OutputError(
            f"{layout.root} has {free >> 20:,} MiB free, the vectors alone need {least >> 20:,} MiB: "
            "make room, or use --vector-type float16 or int8."
        )


def _note_run(
    layout: Layout,
    config: JobConfig,
    facts: ModelFacts,
    plan: Plan,
    devices: tuple[str, ...],
    bad: dict[str, str],
) -> None:
    """Note what later commands need of this machine: where model and input lie, and which plan is current."""
    local = config.model is not None and Path(config.model).expanduser().is_dir()
    noted = LastRun(
        plan=plan.id,
        input=tuple(os.path.abspath(os.path.expanduser(text)) for text in config.input),  # noqa: PTH100, PTH111  # globs too
        model=str(facts.folder) if local else config.model,
        revision=config.revision,
        pooling=config.pooling,
        query_prompt=facts.query_prompt,
        devices=devices,
        bad_files=bad,
        doc_vectors=config.doc_vectors,
        format=config.format,
    )
    replace_json(layout, layout.current_run, noted.to_json())
