"""Measure the encoder alone on this machine."""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.chunk.recipe import ChunkRecipe
from embed_corpus.feed.packing import Packer, pack_all
from embed_corpus.job.config import JobConfig
from embed_corpus.job.devices import resolve_devices, resolve_precision
from embed_corpus.job.fits import check_fit
from embed_corpus.job.recipe import resolve_chunk_tokens
from embed_corpus.model.facts import read_facts
from embed_corpus.model.folder import model_folder
from embed_corpus.source.discover import discover
from embed_corpus.source.plan import inspect_all, make_plan
from embed_corpus.source.read import read_shard
from embed_corpus.store.cache import keep_kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.data import Batch
    from embed_corpus.engine.encoder import LocalEncoder

__all__ = [
    "Ids",
    "Measured",
    "embed",
    "first_of",
    "made_up",
    "measure",
    "pack",
    "prepare_bench",
    "seconds",
]

Ids = list["NDArray[np.int32]"]
"""Token ids of chunks, int32 each."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measurement saw.

    Attributes:
        tokens_per_s: real tokens, from ids to vectors on the host; median of the rounds.
        flops_per_s: their arithmetic: 2 x non-embedding parameters + attention.
        matrix_rate: FLOP/s of a large matrix product there, in the same run.
        fill: share of a batch's tokens that are real.
        memory: peak bytes on the device; 0 on a CPU.
    """

    tokens_per_s: float
    flops_per_s: float
    matrix_rate: float
    fill: float
    memory: int

    def to_json(self) -> dict[str, float | int]:
        """Return the fields."""
        return asdict(self)


def pack(encoder: LocalEncoder, chunks: Ids, budget: int | None = None) -> list[Batch]:
    """Pack chunks as a run would, or to another token budget."""
    packer = encoder.packer() if budget is None else Packer(budget, static=encoder.runner.device.type == "cuda")
    return pack_all(packer, chunks)


def embed(encoder: LocalEncoder, batches: Iterable[Batch]) -> NDArray[np.float32]:
    """Embed batches with two in flight, as a run does; float32[n, dim]."""

    def vectors() -> Iterator[NDArray[np.float32]]:
        flying: deque[Any] = deque()
        for batch in batches:
            flying.append(encoder.submit(batch))
            if len(flying) > 2:
                yield flying.popleft().result()
        yield from (pending.result() for pending in flying)

    return np.concatenate(list(vectors()))


def measure(encoder: LocalEncoder, batches: Sequence[Batch], rounds: int = 3) -> Measured:
    """Time passes over batches; one pass before them does not count."""
    import torch

    from embed_corpus.engine.ceiling import matrix_rate
    from embed_corpus.engine.load import DTYPES

    run = encoder.runner
    cuda = run.device.type == "cuda"
    embed(encoder, batches)
    rate = matrix_rate(run.device, DTYPES[run.precision])
    if cuda:
        torch.cuda.reset_peak_memory_stats(run.device)
    taken = statistics.median(seconds(lambda: embed(encoder, batches)) for _ in range(rounds))
    lengths = np.concatenate([np.diff(batch.cu_seqlens) for batch in batches])
    real = int(lengths.sum())
    return Measured(
        tokens_per_s=real / taken,
        flops_per_s=encoder.arithmetic.flops(lengths) / taken,
        matrix_rate=rate,
        fill=real / sum(len(batch.input_ids) for batch in batches),
        memory=torch.cuda.max_memory_allocated(run.device) if cuda else 0,
    )


def seconds(call: Callable[[], object]) -> float:
    """Time one call that waits for its own results."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def prepare_bench(
    inputs: Sequence[str],
    *,
    model: str | None,
    revision: str | None,
    text_column: tuple[str, ...],
    chunk_tokens: int | None,
    devices: str,
    precision: Any,
    batch_tokens: int | None,
    pooling: str | None = None,
    trust_remote_code: bool = False,
    compile: bool,  # noqa: A002  # the option's name
    tokens: int | None,
) -> tuple[LocalEncoder, Ids, list[str]]:
    """Load a model on the first of the devices and get chunks for it; also what the user should know.

    Raises:
        UsageError, ModelError, DataError: as `run` does.
    """
    keep_kernels()
    from embed_corpus.engine.loaded import LoadedModel
    from embed_corpus.engine.ready import check_fp8, get_ready

    device = resolve_devices(devices)[0]
    folder = model_folder(model, revision, code=trust_remote_code)
    facts = read_facts(folder, pooling, remote_code=trust_remote_code)
    recipe = ChunkRecipe.of_model(facts, resolve_chunk_tokens(chunk_tokens, facts))
    longest = recipe.longest
    loaded = LoadedModel(facts, device, resolve_precision(precision, device, facts.family), longest)
    check_fit(recipe.tokenizer(), facts, loaded.known_ids)
    tokens = tokens or (20_000 if device == "cpu" else 2_000_000)
    if inputs:
        config = JobConfig(tuple(inputs), Path(os.devnull), text_column=text_column)
        chunks = first_of(config, recipe, tokens)
    else:
        chunks = made_up(longest, tokens, loaded.module.config.vocab_size)
    encoder, notes, _ = get_ready(loaded, batch_tokens, compiled=compile)
    if precision == "fp8":
        notes = (*notes, check_fp8(loaded, encoder, chunks[:512], forced=True))
    return encoder, chunks, list(notes)


def made_up(longest: int, tokens: int, vocabulary: int) -> Ids:
    """Make chunks of random ids and of lengths from 1 to the longest, `tokens` in all or a little more."""
    dice = np.random.default_rng(0)
    chunks: Ids = []
    while tokens > 0:
        chunks.append(
            dice.integers(min(1000, vocabulary // 2), vocabulary, dice.integers(1, longest + 1), dtype=np.int32)
        )
        tokens -= len(chunks[-1])
    return chunks


def first_of(config: JobConfig, recipe: ChunkRecipe, tokens: int) -> Ids:
    """Cut the first documents of a corpus into chunks, `tokens` in all or a little more.

    Raises:
        DataError, UsageError: the corpus cannot be read.
    """
    chunker = recipe.chunker()
    found, _ = discover(config.input, config.output, config.format, config.text_column)
    plan = make_plan(inspect_all(found, config.columns), "bench")
    chunks: Ids = []
    for shard in plan.shards:
        for rows in read_shard(shard, config.columns, {}):
            cut = chunker(rows.table["text"].to_pylist())
            chunks += cut.ids()
            tokens -= int(cut.n_tokens.sum())
            if tokens <= 0:
                return chunks
    return chunks
