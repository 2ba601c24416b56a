"""The ranges that a vector type divides into steps: measured once per OUT, before its first part, then kept."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from embed_corpus.errors import DataError, OutputError
from embed_corpus.sink.ranges import read_ranges
from embed_corpus.sink.readback import schema_in
from embed_corpus.source.plan import Plan
from embed_corpus.source.sample import beginnings, read_places, spread
from embed_corpus.store.notes import publish_json
from embed_corpus.vectors.codec import codec_of
from embed_corpus.vectors.ranges import MADE_AGAIN, Ranges
from embed_corpus.vectors.table import vector_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from embed_corpus.data import Chunks, Shard
    from embed_corpus.engine.base import Encoder
    from embed_corpus.execution.messages import WorkerSpec
    from embed_corpus.sink.parts import PartFormat
    from embed_corpus.store.layout import Layout

__all__ = ["calibration_shards", "restore_ranges", "settle_ranges", "warn_of_few"]

log = logging.getLogger("embed_corpus")

_SHARDS = 32
"""A sample comes from no more of them: a worker is told them all."""
_FEWEST, _MOST, _SHARE = 128, 1024, 20
"""Documents that are sampled: a twentieth of the rows, within these bounds."""


def calibration_shards(shards: Sequence[Shard], seed: str) -> tuple[Shard, ...]:
    """Draw the shards from which the ranges are sampled, in plan order; the same for the same plan and (hex) seed."""
    chosen = np.random.default_rng(int(seed, 16)).permutation(len(shards))[:_SHARDS]
    return tuple(shards[i] for i in sorted(chosen.tolist()))


def settle_ranges(spec: WorkerSpec, encoder: Encoder, alive: Callable[[], None]) -> PartFormat:
    """Return the format of parts with the ranges of OUT, which are published if they were not there.

    They are those of any part there; before the first part those of a sample, embedded here. Of several
    workers or runs the first to publish wins, and all take what it published. `alive` is called now and then.

    Raises:
        OutputError: the ranges of OUT are damaged, or not those of its parts.
    """
    form, file = spec.form, spec.layout.ranges
    if not form.codec.type.needs_ranges:
        return form
    theirs = _of_a_part(spec.layout)
    if not spec.layout.store.stat(file):
        publish_json(spec.layout, file, (theirs or _measured(spec, encoder, alive)).to_json())
    ranges = read_ranges(spec.layout, form.dim)
    if theirs is not None and not theirs.same(ranges):
        raise OutputError(f"{file} does not hold the ranges that parts of OUT were made with: {MADE_AGAIN}")
    return replace(form, ranges=ranges)


def restore_ranges(layout: Layout) -> None:
    """Publish the ranges of a part again if the file that held them is gone."""
    if not layout.store.stat(layout.ranges) and (ranges := _of_a_part(layout)) is not None:
        publish_json(layout, layout.ranges, ranges.to_json())


def warn_of_few(layout: Layout, kind: str, rows: int) -> None:
    """Tell who begins with a handful of rows that the ranges of all later ones, if such are needed, will be theirs."""
    if vector_type(kind).needs_ranges and rows < _FEWEST and not layout.store.stat(layout.ranges):
        log.warning(
            "%s: the ranges of this OUT, kept for good, will be those of %d rows: if more are to come, "
            "begin with some hundred, or with another --vector-type.",
            kind,
            rows,
        )


def _of_a_part(layout: Layout) -> Ranges | None:
    for name in layout.parts():
        with contextlib.suppress(OSError, ValueError, KeyError, pa.ArrowException):  # a damaged one tells nothing
            ranges = codec_of(schema_in(layout, layout.data / name)).ranges
            if ranges is not None:
                return ranges
    return None


def _measured(spec: WorkerSpec, encoder: Encoder, alive: Callable[[], None]) -> Ranges:
    """Embed a sample and return its ranges; between -1 and 1 if nothing in it has a vector."""
    vectors = [np.empty((0, spec.form.dim), np.float32)]
    packer = encoder.packer()
    for batch in (*chain.from_iterable(map(packer.add, _sample(spec))), *packer.flush()):
        vectors.append(encoder.submit(batch).result())
        alive()
    found = np.concatenate(vectors)
    found = found[np.isfinite(found).all(axis=1)]
    if not len(found):
        found = np.array([[-1], [1]], np.float32).repeat(spec.form.dim, axis=1)
    return Ranges.over(found)


def _sample(spec: WorkerSpec) -> list[Chunks]:
    """Return one chunk each, with those that share its pass, of some documents, spread over the calibration shards."""
    plan = Plan(spec.calibration)
    n = min(_MOST, max(_FEWEST, plan.rows // _SHARE))
    dice = np.random.default_rng(int(spec.seed, 16))
    chunker = spec.recipe.chunker()
    found: list[Chunks] = []
    with contextlib.suppress(DataError):  # the run itself will say so
        for _, rows in read_places(plan, spread(plan.rows, _SHARDS, -(-n // _SHARDS), dice), spec.columns, {}):
            chunks = chunker(beginnings(rows.table["text"]))
            firsts, n_chunks = np.unique(chunks.doc, return_index=True, return_counts=True)[1:]
            found += [chunks.around(i)[0] for i in (firsts + dice.integers(n_chunks)).tolist()]
    return found
