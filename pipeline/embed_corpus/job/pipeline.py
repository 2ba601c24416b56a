"""The stages joined: shards in, committed parts out, batches running on across shards."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.data import Block, Counts
from embed_corpus.errors import DataError
from embed_corpus.sink.parts import PartWriter
from embed_corpus.source.read import read_shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from embed_corpus.chunk.windows import Chunker
    from embed_corpus.data import Batch, Rows, Shard
    from embed_corpus.engine.encoder import Encoder, Pending
    from embed_corpus.sink.layout import Layout
    from embed_corpus.sink.parts import PartFormat
    from embed_corpus.source.inspect import Columns

__all__ = ["Committed", "Embedded", "Failed", "Stages", "embed_blocks", "embed_shards", "first_chunks"]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Progress: rows whose vectors are with the writer."""

    counts: Counts


@dataclass(frozen=True, slots=True)
class Committed:
    """A part became visible; `stats` is what is noted beside it."""

    shard: Shard
    stats: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed:
    """A shard whose source turned out unreadable; nothing of it is visible."""

    shard: Shard
    reason: str


@dataclass
class Stages:
    """The stages of one worker, and the seconds spent in each."""

    columns: Columns
    chunker: Chunker
    encoder: Encoder
    form: PartFormat
    layout: Layout
    numerics: str
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("read", "chunk", "encode", "write"), 0.0))


def embed_shards(shards: Iterable[Shard], stages: Stages) -> Iterator[Embedded | Committed | Failed]:
    """Embed shards one after the other and commit each as soon as its last vector is there.

    Raises:
        OutputError: a part cannot be written; StoreError: or not be published.
    """
    writer: PartWriter | None = None
    try:
        for block, vectors in embed_blocks(_blocks(shards, stages), stages):
            begin = time.perf_counter()
            writer = writer or PartWriter(block.shard, stages.form, stages.layout, stages.numerics)
            event: Embedded | Committed | Failed
            if block.rows is not None:
                event = Embedded(writer.append(block, vectors))
            elif block.error:
                writer.close()
                writer, event = None, Failed(block.shard, block.error)
            else:
                event = Committed(block.shard, writer.commit())
                writer = None
            stages.seconds["write"] += time.perf_counter() - begin
            yield event
    finally:
        if writer is not None:
            writer.close()


def _blocks(shards: Iterable[Shard], stages: Stages) -> Iterator[Block]:
    """Read and chunk shards block by block; a block without rows ends each shard."""
    for shard in shards:
        rows = _timed(read_shard(shard, stages.columns, stages.form.keep_types), stages.seconds, "read")
        try:
            for number in rows:
                yield _chunked(shard, number, stages)
        except DataError as error:
            yield Block(shard, error=str(error))
            continue
        yield Block(shard)


def _chunked(shard: Shard, rows: Rows, stages: Stages) -> Block:
    begin = time.perf_counter()
    chunks = stages.chunker(rows.table["text"].to_pylist())
    stages.seconds["chunk"] += time.perf_counter() - begin
    return Block(shard, rows, chunks)


def first_chunks(shard: Shard, stages: Stages, n: int) -> list[NDArray[np.int32]]:
    """Return the ids of the first n chunks of a shard, or of all if it has fewer."""
    found: list[NDArray[np.int32]] = []
    for block in _blocks([shard], stages):
        if block.chunks is not None:
            found += block.chunks.ids()
        if len(found) >= n:
            break
    return found[:n]


def _timed(items: Iterator[Rows], seconds: dict[str, float], stage: str) -> Iterator[Rows]:
    """Pass items on and add the time it takes to get each to a stage's seconds."""
    while True:
        begin = time.perf_counter()
        item = next(items, None)
        seconds[stage] += time.perf_counter() - begin
        if item is None:
            return
        yield item


def embed_blocks(blocks: Iterable[Block], stages: Stages) -> Iterator[tuple[Block, NDArray[np.float32]]]:
    """Pack the blocks' chunks, encode the batches, and give each block its vectors back, in order.

    Batches pay no heed to where a block or a shard ends; only the blocks of a few batches wait. A
    GPU always has two batches before it, so that it never waits for this process.
    """
    encoder = stages.encoder
    packer = encoder.packer()
    ahead = 2 if encoder.device.type == "cuda" else 0
    flying: deque[Pending] = deque()
    waiting: deque[Block] = deque()
    ready: list[NDArray[np.float32]] = []  # joined when a block is complete: a huge document has many batches
    n_ready = 0

    def encoded(batches: Iterable[Batch], ahead: int) -> Iterator[tuple[Block, NDArray[np.float32]]]:
        nonlocal ready, n_ready
        for batch in batches:
            begin = time.perf_counter()
            flying.append(encoder.submit(batch))
            packer.budget = encoder.batch_tokens  # lowered, if memory ran out
            stages.seconds["encode"] += time.perf_counter() - begin
        while len(flying) > ahead:
            begin = time.perf_counter()
            ready.append(flying.popleft().result())
            n_ready += len(ready[-1])
            stages.seconds["encode"] += time.perf_counter() - begin
        while waiting and (n := len(waiting[0].chunks or ())) <= n_ready:
            vectors = np.concatenate(ready) if ready else np.empty((0, stages.form.dim), np.float32)
            ready, n_ready = [vectors[n:]], n_ready - n
            yield waiting.popleft(), vectors[:n]

    for block in blocks:
        waiting.append(block)
        yield from encoded(packer.add(block.chunks) if block.chunks is not None else (), ahead)
    yield from encoded(packer.flush(), 0)
