"""The loader: blocks in order from processes of its own, whatever becomes of those."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus.chunk.recipe import ChunkRecipe
from embed_corpus.chunk.windows import HUGE
from embed_corpus.data import SHOWN_BYTES, Block, Chunked, Piece, Rows, Shard, ShardEnd, ShardFailed
from embed_corpus.errors import DataError
from embed_corpus.execution import loader as loader_module
from embed_corpus.execution.loader import Loader
from embed_corpus.job.config import JobConfig
from embed_corpus.job.prepare import prepare
from embed_corpus.source.read import BlockSize
from kit.started import spawned
from kit.tiny import CORPUS

pytestmark = pytest.mark.spawn  # its processes are found by their command line
Made = tuple[Loader, tuple[Shard, ...]]


@pytest.fixture
def made(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """A loader with one process and blocks of twenty rows, of which few wait; and the shards of the samples."""
    monkeypatch.setattr(loader_module, "LARGE", BlockSize(20, 10_000))
    job = prepare(JobConfig((str(CORPUS),), tmp_path / "out", str(tiny_model), devices="cpu"))
    loader = Loader(ChunkRecipe(tiny_model, 64), job.config.columns, {}, workers=1)
    yield loader, job.plan.shards
    loader.close()


def told(item: Chunked | ShardEnd | ShardFailed) -> tuple[object, ...]:
    """What comes of a shard, in plain values: rows and ids of their chunks, or how it ended."""
    match item:
        case Block(shard, rows, chunks) | Piece(shard, rows, chunks):
            return shard.id, rows.rows.tolist(), chunks.input_ids.tolist()
        case _:
            return (item,)


def kill_loaders() -> None:
    for child in spawned(psutil.Process()):
        with contextlib.suppress(psutil.NoSuchProcess):  # its pool has seen it die
            child.kill()


def test_same_blocks_as_without(made: Made, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes give the blocks that the loader makes without them, in order, each shard with its end."""
    loader, shards = made
    monkeypatch.setattr(loader_module, "SMALL", BlockSize(20, 10_000))
    plain = Loader(ChunkRecipe(tiny_model, 64), loader._columns, {}, workers=0)
    expected = [told(block) for block in plain.blocks(shards)]
    assert len(expected) > 50
    assert [told(block) for block in loader.blocks(shards)] == expected
    assert set(loader.seconds) == {"read", "chunk"}
    assert all(loader.seconds.values())


def test_a_dead_process_is_replaced(made: Made) -> None:
    """Blocks that were with a process that died are chunked again."""
    loader, shards = made
    items = []
    for i, item in enumerate(loader.blocks(shards[:1])):
        if i == 2:
            kill_loaders()
        items.append(item)
    *blocks, end = items
    rows = [row for block in blocks for row in block.rows.rows.tolist()]
    assert len(rows) == len(set(rows)) >= 340
    assert end == ShardEnd(shards[0], end.content)


def test_a_shard_over_which_processes_die_fails(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second death over the same rows ends their shard with an error that names them; the next one follows."""
    loader, shards = made
    submit = loader._submit

    def doomed(rows: Rows) -> Future[object]:
        future = submit(rows)
        if rows.table["doc_id"][0].as_py() == f"{shards[0].source}#0":
            kill_loaders()
        return future

    monkeypatch.setattr(loader, "_submit", doomed)
    failed, end = (item for item in loader.blocks(shards[:2]) if not isinstance(item, Chunked))
    assert failed == ShardFailed(shards[0], failed.reason)
    assert failed.reason.startswith(f"{shards[0].source}: loader processes die over rows 0 to ")
    assert end == ShardEnd(shards[1], end.content)


def test_an_unreadable_shard_ends_with_its_error(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of it comes, then that it failed, and no end; the next shard follows."""
    loader, shards = made
    read = loader_module.read_shard

    def failing(shard: Shard, *more: object) -> Iterator[object]:
        for i, rows in enumerate(read(shard, *more)):
            if shard is shards[0] and i == 2:
                raise DataError("gone")
            yield rows

    monkeypatch.setattr(loader_module, "read_shard", failing)
    items = list(loader.blocks(shards[:2]))
    assert [type(item) for item in items[:3]] == [Block, Block, ShardFailed]
    assert items[2] == ShardFailed(shards[0], "gone")
    assert {type(item) for item in items[3:-1]} == {Block}
    assert items[-1] == ShardEnd(shards[1], items[-1].content)


def test_leaving_early_leaves_nothing_behind(made: Made) -> None:
    """A loader that is closed in the middle ends its processes."""
    loader, shards = made
    blocks = loader.blocks(shards)
    next(blocks)
    children = spawned(psutil.Process())
    assert children
    blocks.close()
    loader.close()
    assert not psutil.wait_procs(children, timeout=10)[1]


def huge_between(folder: Path, model: Path, **options: object) -> tuple[JobConfig, tuple[Shard, ...]]:
    """A job over one shard of short documents with a huge one among them, read together."""
    texts = [f"short {i}" for i in range(20)]
    texts[7] = "boundary layer " * (HUGE // 10)
    pq.write_table(pa.table({"text": pa.array(texts).dictionary_encode()}), folder / "a.parquet")
    job = prepare(JobConfig((str(folder / "a.parquet"),), folder / "out", str(model), devices="cpu", **options))
    return job.config, job.plan.shards


def test_a_huge_document_crosses_once(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documents around a huge one go to the loader processes without it."""
    config, shards = huge_between(tmp_path, tiny_model)
    loader = Loader(ChunkRecipe(tiny_model, 64), config.columns, {}, workers=1)
    assert loader._pool is not None
    sizes, submit = [], loader._pool.submit

    def noted(work: object, texts: pa.StringArray) -> Future[object]:
        sizes.append(len(pickle.dumps(texts)))
        return submit(work, texts)

    monkeypatch.setattr(loader._pool, "submit", noted)
    try:
        items = list(loader.blocks(shards))
    finally:
        loader.close()
    rows = [
        item.rows.rows.tolist() for item in items if isinstance(item, Block) or getattr(item, "more", None) is False
    ]
    assert [row for numbers in rows for row in numbers] == list(range(20))
    assert [size > HUGE for size in sizes] == [numbers == [7] for numbers in rows]


def test_what_a_reject_tells_of_a_huge_document(tiny_model: Path, tmp_path: Path) -> None:
    """Its first block holds as much of its text as a reject tells, however little of it is in its chunks."""
    config, shards = huge_between(tmp_path, tiny_model)
    loader = Loader(ChunkRecipe(tiny_model, 20, truncate=True), config.columns, {}, workers=0)
    (piece,) = (item for item in loader.blocks(shards) if isinstance(item, Piece))
    assert (piece.rows.rows.tolist(), piece.more) == ([7], False)
    assert len(piece.rows.table["text"][0].as_py()) == SHOWN_BYTES
