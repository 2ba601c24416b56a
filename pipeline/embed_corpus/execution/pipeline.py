"""The stages joined: shards in, committed parts out, batches running on across shards."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from embed_corpus.data import Batch, Chunked, Encoded, ShardEnd, ShardFailed
from embed_corpus.execution.reuse import Reuse, completed, left_over, texts_left_over
from embed_corpus.feed.threads import ahead, behind
from embed_corpus.report.events import Committed, Embedded, Failed, ShardEvent
from embed_corpus.sink.parts import PartWriter
from embed_corpus.vectors.loss import VectorSample

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from numpy.typing import NDArray

    from embed_corpus.data import Shard
    from embed_corpus.engine.base import Encoder, Pending
    from embed_corpus.execution.loader import Loader
    from embed_corpus.feed.packing import Packer
    from embed_corpus.sink.base import Sink
    from embed_corpus.sink.parts import PartFormat
    from embed_corpus.store.layout import Layout

__all__ = ["CHANGED", "Stages", "embed_blocks", "embed_shards"]


@dataclass
class Stages:
    """The stages of one worker, and what they did so far.

    Attributes:
        seconds: spent in each stage by this process.
        on_device: spent on batches by the encoder's device, by step; empty where it is not timed.
        flops: the model's arithmetic.
        n_batches: batches sent to the encoder.
        begin: of the first shard, on the clock of `time.perf_counter`.
        sample: some vectors as floats.
    """

    loader: Loader
    encoder: Encoder
    form: PartFormat
    layout: Layout
    numerics: str
    reuse: Reuse = field(default_factory=lambda: Reuse({}, ""))
    sink: Callable[[Shard, PartFormat, Layout, str], Sink] = PartWriter
    seconds: dict[str, float] = field(default_factory=dict)
    on_device: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0
    n_batches: int = 0
    begin: float = 0.0
    sample: VectorSample = field(init=False)

    def __post_init__(self) -> None:
        self.sample = VectorSample(self.form.codec)

    def add(self, stage: str, begin: float) -> None:
        """Count the time since `begin` to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin


T = TypeVar("T")
Loaded = Chunked | ShardEnd | ShardFailed
"""What the loader gives."""
CHANGED = "{} changed while another run embedded it as it was: run the same line again."
_WAITING_VECTORS = 64 << 20
"""Bytes of vectors that may wait for the writer."""


def embed_shards(shards: Iterable[Shard], stages: Stages, emit: Callable[[ShardEvent], None]) -> None:
    """Embed shards one after the other and commit each as soon as its last vector is there.

    Where the loader has processes of its own, writing has a thread of its own; `emit` is called there.

    Raises:
        OutputError: a part cannot be written; StoreError: or not be published.
    """
    stages.begin = time.perf_counter()
    collector = _Collector(stages, emit)
    try:
        with closing(embed_blocks(stages.loader.blocks(shards), stages)) as encoded:
            if not stages.loader.workers:
                for item in encoded:
                    collector.take(item)
                return
            with behind(collector.take, _WAITING_VECTORS, _nbytes) as put:
                for item in encoded:
                    begin = time.perf_counter()
                    put(item)
                    stages.add("held", begin)
    finally:
        collector.close()


class _Collector:
    """Gives blocks and their vectors to one sink a shard, and tells what became of them."""

    def __init__(self, stages: Stages, emit: Callable[[ShardEvent], None]) -> None:
        self._stages, self._emit = stages, emit
        self._open: Sink | None = None

    def take(self, item: Encoded | ShardEnd | ShardFailed) -> None:
        stages, begin = self._stages, time.perf_counter()
        match item:
            case Encoded(block, vectors):
                event: ShardEvent = Embedded(self._open_for(block.shard).append(block, vectors))
                if not stages.form.codec.type.exact and block.known is None:
                    stages.sample.add(block.shard.id, vectors)
                stages.add("write", begin)
            case ShardEnd(shard, content):
                stats = self._open_for(shard).commit(content)
                self._open = None
                event = Committed(shard, stats)
                if stats.get("content", content) != content:
                    event = Failed(shard, CHANGED.format(shard.path))
                stages.add("commit", begin)
            case ShardFailed(shard, reason):
                self.close()
                event = Failed(shard, reason)
        self._emit(event)

    def _open_for(self, shard: Shard) -> Sink:
        if self._open is None:
            stages = self._stages
            self._open = stages.sink(shard, stages.form, stages.layout, stages.numerics)
        return self._open

    def close(self) -> None:
        """Drop what is unfinished."""
        if self._open is not None:
            self._open.close()
            self._open = None


def _nbytes(item: Encoded | ShardEnd | ShardFailed) -> int:
    return item.vectors.nbytes if isinstance(item, Encoded) else 0


_PACKED = 2
"""Batches that wait to be sent to the encoder."""


def embed_blocks(
    blocks: Generator[Loaded, None, None], stages: Stages
) -> Generator[Encoded | ShardEnd | ShardFailed, None, None]:
    """Pack the blocks' chunks, encode the batches, and give each block its vectors back, in order.

    Batches pay no heed to where a block or a shard ends; only the blocks of a few batches wait. The
    encoder always has as many batches before it as it wants, so that its device never waits for this process; where
    the loader has processes of its own, packing has a thread of its own.
    """
    encoder = stages.encoder
    packer = encoder.packer()
    flying: deque[Pending] = deque()
    waiting: deque[tuple[Loaded, int]] = deque()  # each with the vectors that it waits for
    ready: list[NDArray[np.float32]] = []  # joined when a block is complete: a huge document has many batches
    n_ready = 0

    def take_in(n_left: int) -> None:
        """Take in the vectors of all batches but the last few."""
        nonlocal n_ready
        begin = time.perf_counter()
        while len(flying) > n_left:
            pending = flying.popleft()
            ready.append(pending.result())
            n_ready += len(ready[-1])
            for step, taken in pending.seconds.items():
                stages.on_device[step] = stages.on_device.get(step, 0.0) + taken
        stages.add("encode", begin)

    def encode(batch: Batch) -> None:
        """Set a batch going, ahead of the vectors that are waited for."""
        begin = time.perf_counter()
        flying.append(encoder.submit(batch))
        packer.budget = encoder.batch_tokens  # lowered, if memory ran out
        stages.flops += flying[-1].flops
        stages.n_batches += 1
        stages.add("encode", begin)
        take_in(encoder.ahead)

    def done() -> Iterator[Encoded | ShardEnd | ShardFailed]:
        nonlocal ready, n_ready
        while waiting and (n := waiting[0][1]) <= n_ready:
            vectors = np.concatenate(ready) if ready else np.empty((0, stages.form.dim), np.float32)
            ready, n_ready = [vectors[n:]], n_ready - n
            item, _ = waiting.popleft()
            yield Encoded(item, completed(item, vectors[:n])) if isinstance(item, Chunked) else item

    items = _packed(blocks, packer, stages)
    ahead_of_us = bool(stages.loader.workers)
    if ahead_of_us:
        items = ahead(items, _PACKED, _is_held)
    with closing(items):
        for item in _timed(items, "wait", stages) if ahead_of_us else items:
            if isinstance(item, Batch):
                encode(item)
            else:
                waiting.append((item, len(left_over(item)[1]) if isinstance(item, Chunked) else 0))
            yield from done()
    take_in(0)
    yield from done()


def _packed(
    blocks: Generator[Loaded, None, None], packer: Packer, stages: Stages
) -> Generator[Loaded | Batch, None, None]:
    """Yield each block, then the batches that it filled."""
    with closing(blocks):
        for item in blocks:
            if not isinstance(item, Chunked):
                yield item
                continue
            block = stages.reuse.known(item)
            yield block
            texts = texts_left_over(block) if packer.with_texts else None
            yield from _timed(packer.add_ids(*left_over(block), texts), "pack", stages)
    yield from _timed(packer.flush(), "pack", stages)


def _is_held(item: Loaded | Batch) -> bool:
    """Tell what counts among the items that wait: batches, and blocks that hold vectors."""
    return isinstance(item, Batch) or (isinstance(item, Chunked) and item.known is not None)


def _timed(items: Iterator[T], stage: str, stages: Stages) -> Iterator[T]:
    """Count the time for which items are waited for to a stage."""
    while True:
        begin = time.perf_counter()
        item = next(items, None)
        stages.add(stage, begin)
        if item is None:
            return
        yield item
