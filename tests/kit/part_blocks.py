"""Blocks with vectors, and parts written from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from embed_corpus.data import Block, Chunked, Chunks, Piece, Reason, Reject, Rows, Shard, ShardEnd
from embed_corpus.sink.parts import PartFormat, PartWriter
from embed_corpus.store.layout import Layout
from kit.places import at

DIM = 8
FACTS = {"space": {"hash": "s", "dim": DIM}, "job": {"hash": "j"}}
FORM = PartFormat(DIM, "float32", {"year": pa.int16()}, keep_text=True, facts=FACTS, normalized=True)
BAD = Reject("a.jsonl", 6, Reason.BAD_JSON, "no é", None)


class Killed(BaseException):
    """What no stage catches."""


def shard_of(n_rows: int) -> Shard:
    """A shard of so many rows."""
    return Shard("5ha4d", "a.jsonl", 0, n_rows)


def block_of(shard: Shard, first: int, stop: int, *, rejects: tuple[Reject, ...] = (), silent: int = -1) -> Block:
    """Documents `first` to `stop`, each of two chunks "left " and "right"; the `silent` one of none."""
    n = stop - first
    table = pa.RecordBatch.from_pydict(
        {
            "doc_id": pa.array([f"d{i}" for i in range(first, stop)], pa.string()),
            "text": pa.array(["left right"] * n, pa.string()),
            "year": pa.array(range(2000 + first, 2000 + stop), pa.int16()),
        }
    )
    doc = np.array([d for d in range(n) for _ in range(2) if first + d != silent], np.int32)
    index = (np.arange(len(doc)) % 2).astype(np.int32)
    start, end = index * np.int64(5), 5 + index * np.int64(5)
    ids = np.zeros(3 * len(doc), np.int32)
    n_tokens = np.full(len(doc), 3, np.int32)
    hashes = np.repeat((first + doc[:, None]).astype(np.uint8), 16, axis=1)
    hashes[:, 15] = index
    chunks = Chunks(doc, index, start, end, n_tokens, hashes, ids, truncated=n, cut_words=2 * n)
    return Block(shard, Rows(table, np.arange(first, stop), rejects), chunks)


def huge_block(shard: Shard, number: int, n: int) -> Block:
    """One document of n chunks, and a reject of its block."""
    block = block_of(shard, number, number + 1, rejects=(BAD,))
    text = "".join(f"chunk {i:03d} " for i in range(n))
    column = block.rows.table.schema.get_field_index("text")
    table = block.rows.table.set_column(column, "text", pa.array([text]))
    index, start = np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int64) * 10
    hashes = np.repeat(index[:, None].astype(np.uint8), 16, axis=1)
    ids, n_tokens = np.zeros(3 * n, np.int32), np.full(n, 3, np.int32)
    chunks = Chunks(index * 0, index, start, start + 10, n_tokens, hashes, ids, cut_words=n)
    return replace(block, rows=replace(block.rows, table=table), chunks=chunks)


def in_pieces(block: Block, vectors: np.ndarray, size: int) -> list[tuple[Piece, np.ndarray]]:
    """Cut a block of one document into pieces of so many chunks, as the loader does."""
    c, n, made = block.chunks, len(block.chunks), []
    text = block.rows.table["text"][0].as_py()
    column = block.rows.table.schema.get_field_index("text")
    for first in range(0, n, size):
        rows = slice(first, first + size)
        base, end = int(c.start[rows][0]), int(c.end[rows][-1])
        table = block.rows.table.set_column(column, "text", pa.array([text[base:end]]))
        arrays = (c.doc[rows], c.index[rows], c.start[rows], c.end[rows], c.n_tokens[rows], c.content_hash[rows])
        chunks = Chunks(*arrays, c.input_ids[3 * first : 3 * (first + size)], cut_words=len(arrays[0]))
        piece = Piece(block.shard, replace(block.rows, table=table), chunks, base, more=first + size < n)
        made.append((piece, vectors[rows]))
    return made


def vectors_for(block: Chunked, *, seed: int = 0) -> np.ndarray:
    """Unit vectors that depend on the content hash and the seed alone."""
    rng = [np.random.default_rng([seed, *h]).standard_normal(DIM) for h in block.chunks.content_hash]
    rows = np.array(rng, np.float32).reshape(-1, DIM)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(
    layout: Layout, *blocks: Chunked | ShardEnd, form: PartFormat = FORM, seed: int = 0, numerics: str = "n"
) -> dict[str, Any]:
    """Write one shard from its blocks and commit it."""
    writer = PartWriter(blocks[0].shard, form, layout, numerics)
    with ExitStack() as stack:
        stack.callback(writer.close)
        for block in blocks:
            if isinstance(block, Chunked):
                writer.append(block, vectors_for(block, seed=seed))
        return writer.commit()


def six_rows() -> Block:
    """Six documents and one reject: a shard of seven rows."""
    return block_of(shard_of(7), 0, 6, rejects=(BAD,))


def the_part(layout: Layout) -> Path:
    """The one part of OUT."""
    (name,) = layout.parts()
    return at(layout.data / name)


def left_in(folder: Path) -> list[str]:
    """Names of the files in a folder that need not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def failing(error: BaseException, at: int = 1, then: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Give a function that raises at call `at` (0: at each), and else does what it did before."""
    calls = iter(range(1, 1000))

    def fail(*args: Any, **kwargs: Any) -> Any:
        if at in (0, next(calls)):
            raise error
        assert then is not None
        return then(*args, **kwargs)

    return fail


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each fsync and link, with its file, and let it happen."""
    events: list[str] = []
    fsync, link = os.fsync, os.link

    def noted_fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        fsync(descriptor)

    def noted_link(made: Path, final: Path) -> None:
        events.append(f"link {final}")
        link(made, final)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "link", noted_link)
    return events
