"""What a run would do, estimated from the files' own counts and a tokenised sample.

Rows and shards are counted. At places all over the input the texts of many rows are measured
(bytes: cheap) and those of a few tokenised (expensive); `extrapolation` makes estimates of them, with tokens
and chunks as a line through a document's bytes.
"""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_corpus.data import Block, Chunks, Rows
from embed_corpus.errors import UsageError
from embed_corpus.feed.packing import CPU_BUDGET, Packer
from embed_corpus.job.devices import device_kind, resolve_devices, resolve_precision
from embed_corpus.job.fingerprint import weight_files
from embed_corpus.job.prepare import warn_of_bad
from embed_corpus.job.prompts import model_of
from embed_corpus.job.recipe import recipe_of
from embed_corpus.job.speeds import known_rate, predicted_seconds
from embed_corpus.report.plan import Estimate, PlanReport, Speed
from embed_corpus.sink.parts import PartFormat, open_writer
from embed_corpus.source.discover import discover, told_left_out
from embed_corpus.source.plan import Plan, inspect_good, kept_types, make_plan
from embed_corpus.source.sample import Places, every_nth, read_places, spread
from embed_corpus.vectors.codec import Codec
from embed_corpus.verbs.extrapolation import fitted_totals, length_bins, measured_total

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from embed_corpus.chunk.recipe import ChunkRecipe
    from embed_corpus.chunk.windows import Chunker
    from embed_corpus.job.config import JobConfig
    from embed_corpus.model.facts import ModelFacts

__all__ = ["DEFAULT_SAMPLE", "plan"]

log = logging.getLogger("embed_corpus")

DEFAULT_SAMPLE = 1000
_LEAST_SAMPLE = 100
_SAMPLE_BYTES = 4 << 20
"""Bytes, as they lie in the files, that the default sample takes at most: seconds of tokenising."""
_PLACES = 64
_READ_RATIO = 16
_READ_BYTES = 64 << 20
"""Documents measured for each one tokenised, and bytes of files that this may take: a second or two."""
_PACKED = 30
"""Batches that are packed to tell how full they are."""


@dataclass(frozen=True)
class _Survey:
    """What is known of a job before a text is read."""

    config: JobConfig
    facts: ModelFacts
    recipe: ChunkRecipe
    chunker: Chunker
    precision: str
    devices: tuple[str, ...]
    plan: Plan
    files: int
    row_bytes: float
    form: PartFormat


@dataclass(frozen=True)
class _Sample:
    """Where was looked, and what was seen there.

    Attributes:
        places: rows that were measured.
        taken: int64[places], rows of each place that were tokenised, or would have been, were they documents.
        measured: for each document read, float64[n, 4]: its place, 1, bytes and characters.
        features: of each document tokenised, float64[m, 3]: place, 1, bytes.
        values: float64[m, 4]: 1 if it has a chunk, its chunks, tokens, and whether it is cut off.
        chunks: of the documents tokenised, block by block.
        tables: the columns of their parts, with vectors of one number.
    """

    places: Places
    taken: NDArray[np.int64]
    measured: NDArray[np.float64]
    features: NDArray[np.float64]
    values: NDArray[np.float64]
    chunks: tuple[Chunks, ...]
    tables: tuple[pa.Table, ...]


def plan(config: JobConfig, sample: int | None = None, seed: int = 0) -> PlanReport:
    """Say what a run would do: documents, tokens, chunks, bytes, batches and time; the same numbers each time.

    The job needs no OUT; one that it has is left alone.
    `sample` is how many documents are tokenised, 10 at least; None: 1,000, fewer of long ones.
    A sample that holds every row gives exact numbers.

    Raises:
        UsageError, ModelError, DataError: as a run does.
    """
    survey = _survey(config)
    seen = _look(survey, _sample_size(survey, sample), np.random.default_rng(seed))
    at, features = seen.measured[:, 0].astype(np.int64), seen.measured[:, 1:3]
    text_bytes, characters = (measured_total(seen.places, at, seen.measured[:, column]) for column in (2, 3))
    second = seen.features[:, 0].astype(np.int64), seen.features[:, 1:], seen.values
    documents, chunks, tokens, truncated = fitted_totals(seen.places, seen.taken, (at, features), second)
    lengths = _joined(c.n_tokens for c in seen.chunks)
    packed = _joined(c.lengths for c in seen.chunks)
    seen_documents = seen.values[seen.values[:, 0] > 0]
    vector = Codec(config.vector_type, survey.facts.dim).n_bytes
    empty, other = _column_bytes(survey, seen)
    budget = _token_budget(survey)
    return PlanReport(
        model=config.model,
        precision=survey.precision,
        chunk_tokens=survey.recipe.chunk_tokens,
        long=config.long,
        vector_type=config.vector_type,
        dim=survey.facts.dim,
        files=survey.files,
        shards=len(survey.plan.shards),
        rows=survey.plan.rows,
        read=len(seen.measured),
        tokenised=len(seen_documents),
        documents=documents,
        text_bytes=text_bytes,
        characters=characters,
        chunks=chunks,
        tokens=tokens,
        truncated=truncated,
        document_tokens=length_bins(seen_documents[:, 2], documents.value),
        chunk_tokens_seen=length_bins(lengths, chunks.value),
        vector_bytes=vector,
        other_bytes=other,
        output_bytes=chunks.value * (vector + other) + len(survey.plan.shards) * empty,
        token_budget=budget,
        batches=_batches(tokens, packed, budget) if budget else None,
        **_speeds(survey, tokens.value),
        bench=_bench_line(config, survey.recipe.pass_tokens or config.chunk_tokens),
    )


def _sample_size(survey: _Survey, asked: int | None) -> int:
    if asked is None:
        asked = min(DEFAULT_SAMPLE, max(_LEAST_SAMPLE, int(_SAMPLE_BYTES / survey.row_bytes)))
    return max(asked, 10)


def _survey(config: JobConfig) -> _Survey:
    """Settle model, devices and input as a run does, and check them."""
    if not config.input:
        raise UsageError("no INPUT: name files, folders or globs to read.")
    out = config.out if config.output else None
    devices = resolve_devices(config.devices)
    facts = model_of(config)
    recipe = recipe_of(config, facts)
    precision = resolve_precision(config.precision, devices[0], facts.family)
    found, left_out = discover(config.input, out, config.format, config.text_column)
    if left_out:
        log.warning("%s", told_left_out(left_out))
    log.info("looking at %d source files", len(found))
    sources, bad = inspect_good(found, config.columns, max_bad=config.max_bad_files)
    warn_of_bad(bad)
    keep_types = kept_types(sources, config.columns)
    weight_files(facts)  # raises if they are not there
    chunker = recipe.chunker()
    plan = make_plan(sources, "plan", config.limit)
    rows = sum(cut.n_rows for source in sources for cut in source.cuts)
    row_bytes = max(sum(source.size for source in sources) / max(rows, 1), 1.0)
    form = PartFormat(1, "float32", keep_types, config.keep_text, {}, normalized=False)
    files = len({shard.path for shard in plan.shards})
    devices = devices[: max(len(plan.shards), 1)]  # a run starts no more workers than there are shards
    return _Survey(config, facts, recipe, chunker, precision, devices, plan, files, row_bytes, form)


def _joined(numbers: Iterable[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate([np.empty(0, np.int32), *numbers])


def _look(survey: _Survey, sample: int, dice: np.random.Generator) -> _Sample:
    """Draw places, measure their texts and tokenise some of them."""
    each = max(2, -(-sample // _PLACES))
    rows = min(_READ_RATIO * each, max(each, int(_READ_BYTES / survey.row_bytes * each / sample)))
    n_rows = survey.plan.rows
    places = spread(n_rows, sample // each, n_rows if n_rows <= sample else rows, dice)
    if n_rows <= sample:
        each = n_rows
    chosen_rows = [every_nth(rows, each, dice) for rows in places.rows]
    tokenised = np.concatenate(chosen_rows)
    measured, features, values = [np.empty((0, 4))], [np.empty((0, 3))], [np.empty((0, 4))]
    chunks, tables = [], []
    for numbers, block in read_places(survey.plan, places, survey.config.columns, survey.form.keep_types):
        text = block.table["text"]
        place = np.searchsorted(places.edges, numbers, "right") - 1
        columns = [place, np.ones(len(place)), pc.binary_length(text), pc.utf8_length(text)]
        measured.append(np.stack([np.asarray(column, np.float64) for column in columns], axis=1))
        chosen = np.flatnonzero(np.isin(numbers, tokenised))
        if len(chosen):
            part = Rows(block.table.take(pa.array(chosen)), block.rows[chosen], ())
            cut = survey.chunker(part.table["text"].to_pylist())
            features.append(measured[-1][chosen, :3])
            values.append(_values(cut, measured[-1][chosen, 3]))
            chunks.append(cut)
            block_of = Block(survey.plan.shards[0], part, cut)
            tables.append(survey.form.table(block_of, np.zeros((len(cut), 1), np.float32)))
    taken = np.array([len(rows) for rows in chosen_rows], np.int64)
    arrays = np.concatenate(measured), np.concatenate(features), np.concatenate(values)
    return _Sample(places, taken, *arrays, tuple(chunks), tuple(tables))


def _values(chunks: Chunks, characters: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tell of each document: 1 if it has a chunk, its chunks, their tokens, 1 if its end is in none."""
    n = len(characters)
    reached = np.zeros(n)
    np.maximum.at(reached, chunks.doc, chunks.end)
    has = np.bincount(chunks.doc, minlength=n)
    tokens = np.bincount(chunks.doc, chunks.n_tokens, n)
    return np.stack([has > 0, has, tokens, (has > 0) & (reached < characters)], axis=1).astype(np.float64)


def _column_bytes(survey: _Survey, seen: _Sample) -> tuple[int, float]:
    """Return the bytes of a part without rows, and those of a chunk beside its vector: the sample's are written."""
    empty = survey.form.schema.empty_table()
    table = pa.concat_tables([empty, *seen.tables])
    if not len(table):
        return _written(empty), 0.0
    return _written(empty), (_written(table) - _written(empty)) / len(table) - survey.form.codec.n_bytes


def _written(table: pa.Table) -> int:
    """Bytes of a Parquet file with these rows."""
    target = pa.BufferOutputStream()
    with open_writer(target, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return len(target.getvalue())


def _token_budget(survey: _Survey) -> int | None:
    """Return the token budget that a run will have, None where that is measured first."""
    device, limit = survey.devices[0], survey.recipe.longest
    rate = known_rate(survey.facts, survey.precision, device, limit)
    default = CPU_BUDGET if device == "cpu" else None
    budget = survey.config.batch_tokens or (rate.token_budget if rate else default)
    return max(budget, limit) if budget else None


def _batches(tokens: Estimate, lengths: NDArray[np.int32], budget: int) -> Estimate:
    """Count the batches, or estimate them from how full those are that the sample fills, over and over."""
    if not len(lengths):
        return Estimate(0.0)
    if tokens.error:
        lengths = np.tile(lengths, int(_PACKED * budget / lengths.sum()) + 1)
    packer = Packer(budget)
    full = list(packer.add_ids(np.zeros(lengths.sum(), np.int32), lengths))
    if not tokens.error:
        return Estimate(float(len(full) + len(list(packer.flush()))))
    return tokens.scaled(len(full) / sum(int(batch.cu_seqlens[-1]) for batch in full))


def _speeds(survey: _Survey, tokens: float) -> dict[str, Any]:
    """Say how fast each kind of device is, and how long all of them will take."""
    facts, precision, limit = survey.facts, survey.precision, survey.recipe.longest
    kinds: dict[str, list[str]] = {}
    for device in survey.devices:
        kinds.setdefault(device_kind(device), []).append(device)
    speeds = []
    for kind, devices in kinds.items():
        rate = known_rate(facts, precision, devices[0], limit)
        seconds = tokens / rate.tokens_per_s if rate else None
        whole_run = rate is not None and rate.whole_run
        speeds.append(Speed(tuple(devices), kind, rate.tokens_per_s if rate else None, whole_run, seconds))
    return {
        "speeds": tuple(speeds),
        "seconds": predicted_seconds(tokens, facts, precision, survey.devices, limit),
    }


def _bench_line(config: JobConfig, longest: int | None) -> str:
    """Return the command that measures the speed of this job's model."""
    options = {"--model": config.model, "--revision": config.revision, "--chunk-tokens": longest}
    options["--pooling"] = config.pooling
    options["--precision"] = None if config.precision == "auto" else config.precision
    options["--devices"] = None if config.devices == "all" else config.devices
    given = [str(word) for option in options.items() if option[1] is not None for word in option]
    given += ["--trust-remote-code"] if config.trust_remote_code else []
    return shlex.join(["embed-corpus", "bench", *given])
