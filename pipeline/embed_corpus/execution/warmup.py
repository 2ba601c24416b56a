"""The beginning of the input: what tokenises it exactly, how fast, and so how many loader processes a device needs."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from embed_corpus.chunk.tokenizer import SLOW
from embed_corpus.engine.encoders import noted_rate
from embed_corpus.errors import DataError
from embed_corpus.execution.loader import Loader
from embed_corpus.source.read import read_shard
from embed_corpus.source.sample import BEGINNING, beginnings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.chunk.recipe import ChunkRecipe
    from embed_corpus.chunk.windows import Chunker
    from embed_corpus.execution.messages import WorkerSpec

__all__ = ["Beginning", "feed", "first_chunks", "loader_for"]

_SAMPLE = 512
"""Chunks, about, on which fp8 and the speed of the tokenizer are judged."""
_PROOF = 1000
"""Documents on which a fast tokenizer is proven."""


@dataclass(frozen=True)
class Beginning:
    """What the beginning of the input told: the ids of some chunks, how fast one process makes them, and how."""

    chunks: list[NDArray[np.int32]]
    rate: float
    recipe: ChunkRecipe
    lane: str


def feed(spec: WorkerSpec) -> tuple[Beginning, Loader | None]:
    """Judge the beginning of the input, and start the loader processes if it is known how many the device wants.

    They start on a fast tokenizer that is proven meanwhile; they get no text before it is.
    """
    texts = list(itertools.islice(_beginnings(spec), _PROOF))
    chunker = spec.recipe.chunker()
    sample = _timed(spec, chunker, texts)
    rate = None
    known = spec.loader_workers is not None or spec.encoder.token_budget is not None
    if not known:
        rate = noted_rate(spec.encoder)
        known = rate is not None
    loader = loader_for(spec, sample, rate) if known else None
    if chunker.tokenizer.prove(texts) == sample.lane:
        return sample, loader
    if loader is not None:
        loader.close()
    sample = _timed(spec, chunker, texts)
    return sample, loader_for(spec, sample, rate) if known else None


def _timed(spec: WorkerSpec, chunker: Chunker, texts: list[str]) -> Beginning:
    """Time the tokenizer on the first documents."""
    begin = time.perf_counter()
    chunks = chunker(texts[:_SAMPLE])
    rate = int(chunks.n_tokens.sum()) / (time.perf_counter() - begin)
    lane = chunker.tokenizer.lane
    return Beginning(chunks.ids()[:_SAMPLE], rate, replace(spec.recipe, fast=lane != SLOW), lane)


def first_chunks(spec: WorkerSpec) -> list[NDArray[np.int32]]:
    """Return the ids of some chunks, int32 each."""
    return _timed(spec, spec.recipe.chunker(), list(itertools.islice(_beginnings(spec), _PROOF))).chunks


def _beginnings(spec: WorkerSpec) -> Iterator[str]:
    """Yield the beginnings of the first documents; those of huge ones are enough, and few of them."""
    size = 0
    for shard in spec.samples:
        with contextlib.suppress(DataError):  # the run itself will say so
            for rows in read_shard(shard, spec.columns, spec.form.keep_types):
                texts = rows.table["text"]
                sizes = pc.binary_length(texts).to_pylist()
                for text, n_bytes in zip(beginnings(texts), sizes, strict=True):
                    yield text
                    size += n_bytes
                    if size > _PROOF * BEGINNING:
                        return


def loader_for(spec: WorkerSpec, sample: Beginning, rate: float | None) -> Loader:
    """Start as many processes that chunk as are asked for, else what the device eats (tokens/s) and half as much again.

    A CPU gets none, as its threads would have to share the cores with them; a GPU leaves two cores to the
    threads that launch and write, and gets all others if its speed is unknown.
    """
    most = max(1, len(spec.cores) - 2)
    n = spec.loader_workers
    if n is None:
        n = 0 if spec.device == "cpu" else most
        if rate and sample.rate:
            n = min(most, math.ceil(1.5 * rate / sample.rate))
    return Loader(sample.recipe, spec.columns, spec.form.keep_types, n)
