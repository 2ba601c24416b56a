"""Time the encoder alone over batches, and get chunks for that."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.feed.packing import Packer, pack_all
from embed_corpus.source.discover import discover
from embed_corpus.source.plan import inspect_all, make_plan
from embed_corpus.source.read import read_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.chunk.recipe import ChunkRecipe
    from embed_corpus.data import Batch
    from embed_corpus.engine.encoder import LocalEncoder
    from embed_corpus.job.options.input import Input

__all__ = [
    "Ids",
    "Measured",
    "embed",
    "first_of",
    "made_up",
    "measure",
    "pack",
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

    def line(self) -> str:
        """Say so."""
        share = self.flops_per_s / self.matrix_rate
        return (
            f"{self.tokens_per_s:,.0f} tokens/s, {share:.0%} of the device's matrix rate "
            f"({self.matrix_rate / 1e12:,.1f} TFLOP/s); {self.fill:.1%} of a batch is real, "
            f"{self.memory / 2**30:.1f} GiB at most"
        )


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


def first_of(config: Input, recipe: ChunkRecipe, tokens: int) -> Ids:
    """Cut the first documents of a corpus into chunks, `tokens` in all or a little more.

    Raises:
        DataError, UsageError: the corpus cannot be read.
    """
    chunker = recipe.chunker()
    found, _ = discover(config.input, None, config.format, config.text_column)
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
