"""Read and chunk ahead of the encoder: shards in, blocks with their chunks out, in order.

A thread reads; processes of its own chunk, because Hugging Face's tokenizers give a Python object
a token, and those hold the interpreter that launches the GPU's kernels. Arrays cross the border
through pipes, so no /dev/shm is needed. The processes import neither torch nor transformers.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Lock, Thread
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_corpus.chunk.utf8 import LongText
from embed_corpus.chunk.windows import HUGE, is_huge
from embed_corpus.data import SHOWN_BYTES, Block, Chunks, Piece, Rows, ShardEnd, ShardFailed
from embed_corpus.errors import DataError, LaneError
from embed_corpus.execution.signals import blocked, ignore
from embed_corpus.feed.threads import ahead
from embed_corpus.source.content import content_of
from embed_corpus.source.read import LARGE, SMALL, read_shard

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from embed_corpus.chunk.recipe import ChunkRecipe
    from embed_corpus.chunk.windows import Chunker
    from embed_corpus.data import Chunked, Shard
    from embed_corpus.source.columns import Columns

__all__ = ["Loader", "end_with_parent", "one_thread"]

log = logging.getLogger("embed_corpus")

_EACH = 2
"""Large blocks that wait for each loader process: one under way and one to go on with."""


class Loader:
    """Reads and chunks shards, in this process or (`workers` > 0) ahead of it.

    Attributes:
        workers: processes that chunk; 0: this one does, when it is asked for the next block.
        seconds: spent reading, and chunking over all processes.
    """

    def __init__(self, recipe: ChunkRecipe, columns: Columns, keep_types: dict[str, pa.DataType], workers: int) -> None:
        self.workers = workers
        self.seconds = {"read": 0.0, "chunk": 0.0}
        self._recipe, self._columns, self._keep_types = recipe, columns, keep_types
        self._chunker = None if workers else recipe.chunker()
        self._lock = Lock()
        self._pool = self._new_pool() if workers else None

    def blocks(self, shards: Iterable[Shard]) -> Generator[Chunked | ShardEnd | ShardFailed, None, None]:
        """Yield the shards' rows in order, chunked, and after those of each shard how it ended.

        Raises:
            LaneError: a fast tokenizer turned out to differ from Hugging Face's.
        """
        if self._chunker is not None:
            for item in self._read(shards):
                if isinstance(item, _Unchunked):
                    yield from self._here(self._chunker, item)
                else:
                    yield item
            return
        limit = self.workers * _EACH * LARGE.n_bytes
        failed = None
        with closing(ahead((self._sent(item) for item in self._read(shards)), limit, _weight)) as sent:
            for found in sent:
                if found.shard is failed:
                    continue
                if not isinstance(found, _Sent):
                    yield found
                    continue
                try:
                    yield from self._received(found)
                except DataError as error:
                    failed = found.shard
                    yield ShardFailed(failed, str(error))

    def close(self) -> None:
        """Let the loader processes end, and wait for that: left to itself, a queue may be shut before they are told."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _read(self, shards: Iterable[Shard]) -> Iterator[_Unchunked | ShardEnd | ShardFailed]:
        for shard in shards:
            found = read_shard(shard, self._columns, self._keep_types, LARGE if self.workers else SMALL)
            begin = time.perf_counter()
            try:
                content = content_of(shard, self._columns)  # before the rows
                for rows in found:
                    self.seconds["read"] += time.perf_counter() - begin
                    yield from (_Unchunked(shard, part) for part in _huge_alone(rows))
                    begin = time.perf_counter()
            except DataError as error:
                yield ShardFailed(shard, str(error))
                continue
            yield ShardEnd(shard, content)

    def _here(self, chunker: Chunker, item: _Unchunked) -> Iterator[Chunked]:
        yield from _chunked(item, self._parts(chunker, item.rows.table["text"]))

    def _parts(self, chunker: Chunker, texts: pa.StringArray) -> Iterator[Chunks]:
        begin = time.perf_counter()
        for chunks in chunker.parts(texts):
            if chunker.tokenizer.differs:
                raise LaneError(chunker.tokenizer.differs)
            self.seconds["chunk"] += time.perf_counter() - begin
            yield chunks
            begin = time.perf_counter()

    def _sent(self, item: _Unchunked | ShardEnd | ShardFailed) -> _Sent | ShardEnd | ShardFailed:
        return _Sent(item, self._submit(item.rows)) if isinstance(item, _Unchunked) else item

    def _submit(self, rows: Rows) -> Future[_Done]:
        texts = rows.table["text"]
        if texts.nbytes < texts.get_total_buffer_size():  # a slice would cross with all that it is a slice of
            texts = pa.concat_arrays([texts])
        with self._lock:
            assert self._pool is not None
            try:
                return self._pool.submit(_chunk, texts)
            except BrokenProcessPool:
                self._pool = self._new_pool()
                return self._pool.submit(_chunk, texts)

    def _received(self, sent: _Sent) -> Iterator[Chunked]:
        rows = sent.item.rows
        try:
            done = sent.future.result()
        except BrokenProcessPool:
            log.warning("a loader process died (the kernel short of memory?); its rows are chunked again")
            try:
                done = self._submit(rows).result()
            except BrokenProcessPool as error:
                first, last = rows.rows[[0, -1]].tolist() if len(rows.rows) else (0, 0)
                raise DataError(
                    f"{sent.shard.source}: loader processes die over rows {first} to {last}. If the kernel was short "
                    "of memory, run the same line again with fewer --loader-workers."
                ) from error
        self.seconds["chunk"] += done.seconds
        if done.differs:
            raise LaneError(done.differs)
        yield from _chunked(sent.item, iter(done.parts))

    def _new_pool(self) -> ProcessPoolExecutor:
        pool = ProcessPoolExecutor(self.workers, _Context(), _begin, (self._recipe,))
        with blocked():
            pool.submit(_nothing)  # the first item starts the processes
        return pool


@dataclass(frozen=True, slots=True)
class _Unchunked:
    """Rows that were read."""

    shard: Shard
    rows: Rows


@dataclass(frozen=True, slots=True)
class _Sent:
    """Rows that a loader process chunks."""

    item: _Unchunked
    future: Future[_Done]

    @property
    def shard(self) -> Shard:
        return self.item.shard


@dataclass(frozen=True, slots=True)
class _Done:
    """What comes back from a loader process; `differs` says where its fast lane differed, if it did."""

    parts: list[Chunks]
    seconds: float
    differs: str


def _huge_alone(rows: Rows) -> Iterator[Rows]:
    """Yield the rows, a huge document apart from those around it."""
    sizes = pc.binary_length(rows.table["text"]).to_numpy()
    edges = np.unique([0, *(at + i for at in np.flatnonzero(sizes > HUGE).tolist() for i in (0, 1)), len(sizes)])
    if len(sizes) < 2 or len(edges) == 2:
        yield rows
        return
    rejects = rows.rejects
    for first, stop in itertools.pairwise(edges.tolist()):
        yield Rows(rows.table.slice(first, stop - first), rows.rows[first:stop], rejects)
        rejects = ()


def _chunked(item: _Unchunked, parts: Iterator[Chunks]) -> Iterator[Chunked]:
    """Yield rows with their chunks: as a block, or a huge document in pieces."""
    shard, rows = item.shard, item.rows
    texts = rows.table["text"]
    if not is_huge(texts):
        yield from (Block(shard, rows, chunks) for chunks in parts)
        return
    pa.default_memory_pool().release_unused()  # reading it took several times its size
    text, column = LongText(texts), rows.table.schema.get_field_index("text")
    waiting = None
    for chunks in parts:
        if waiting is not None:
            yield waiting
        base, end = (int(chunks.start[0]), int(chunks.end[-1])) if len(chunks) else (0, 0)
        shown = pa.array([text[base : max(end, SHOWN_BYTES)]])  # the first, at least what a reject tells of it
        table = rows.table.set_column(column, "text", shown)
        waiting = Piece(shard, replace(rows, table=table), chunks, base, more=True)
    if waiting is not None:
        yield replace(waiting, more=False)


def _weight(found: _Sent | ShardEnd | ShardFailed) -> int:
    return int(found.item.rows.table.nbytes) if isinstance(found, _Sent) else 0


class _Process(SpawnProcess):
    """A loader process: it ignores SIGTERM, by which a pool ends the others when one of them has died."""

    def terminate(self) -> None:
        self.kill()


class _Context(SpawnContext):
    """How a pool starts loader processes."""

    Process = _Process


_chunker: Chunker | None = None
"""A loader process's own."""


def _begin(recipe: ChunkRecipe) -> None:
    """Set a loader process up: one thread, no signals of the group, and an end with its parent."""
    global _chunker  # noqa: PLW0603  # an executor's initializer has no other place
    ignore()
    end_with_parent()
    one_thread()
    _chunker = recipe.chunker()


def _nothing() -> None: ...


def _chunk(texts: pa.StringArray) -> _Done:
    begin = time.perf_counter()
    assert _chunker is not None
    try:
        parts = list(_chunker.parts(texts))
    except LaneError:
        parts = []
    return _Done(parts, time.perf_counter() - begin, _chunker.tokenizer.differs)


def one_thread() -> None:
    """Let tokenizers of this process do with one thread; to be called before any is loaded."""
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}


def end_with_parent() -> None:
    """Let this process end when the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    Thread(target=watch, name="watch-parent", daemon=True).start()
