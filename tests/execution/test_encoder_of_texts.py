"""An encoder that takes texts in place of token ids, as a server does, fits in with nothing but its packer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embed_corpus.data import Batch
from embed_corpus.engine.base import Encoder
from embed_corpus.execution.pipeline import Stages, embed_blocks
from embed_corpus.feed.packing import Packer
from embed_corpus.store.layout import Layout
from kit.part_blocks import DIM, FORM, block_of, huge_block, in_pieces, shard_of, vectors_for


@dataclass
class Told:
    """Vectors that are there."""

    vectors: np.ndarray
    flops: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=lambda: {"server": 0.5})

    def result(self) -> np.ndarray:
        return self.vectors


class Reader:
    """Gives a text its length, again and again, as its vector; notes what it was sent."""

    batch_tokens, ahead = 10, 2

    def __init__(self) -> None:
        self.seen: list[str] = []

    @property
    def numerics(self) -> dict[str, Any]:
        return {}

    def packer(self) -> Packer:
        return Packer(self.batch_tokens, with_texts=True)

    def submit(self, batch: Batch) -> Told:
        assert batch.texts is not None
        assert len(batch.texts) == batch.n_chunks
        self.seen += batch.texts
        return Told(np.repeat(np.float32([[len(text)] for text in batch.texts]), DIM, axis=1))

    def close(self) -> None: ...


@pytest.fixture
def stages(tmp_path: Path) -> Stages:
    """The stages behind a loader without processes."""
    reader: Encoder = Reader()
    loader: Any = SimpleNamespace(workers=0)
    return Stages(loader, reader, FORM, Layout(tmp_path), "n")


def test_it_gets_each_chunk_s_text(stages: Stages) -> None:
    """The text of every chunk, of pieces of a huge document too, in order and once; its vectors come back in place."""
    shard = shard_of(9)
    huge = huge_block(shard, 5, 7)
    blocks = [block_of(shard, 0, 5), *(piece for piece, _ in in_pieces(huge, vectors_for(huge), 3))]
    found = list(embed_blocks((block for block in blocks), stages))
    assert stages.encoder.seen == ["left ", "right"] * 5 + [f"chunk {i:03d} " for i in range(7)]
    assert [item.vectors[:, 0].tolist() for item in found] == [[5.0] * 10, [10.0] * 3, [10.0] * 3, [10.0]]
    assert stages.on_device == {"server": 0.5 * stages.n_batches}


def test_it_gets_no_text_whose_vector_is_known(stages: Stages) -> None:
    """Of chunks that have their vectors already it is told nothing, and they keep them."""
    block = block_of(shard_of(3), 0, 3)
    known = np.full((6, DIM), np.nan, np.float32)
    known[[1, 2]] = 0.5
    (item,) = embed_blocks((each for each in [replace(block, known=known)]), stages)
    assert stages.encoder.seen == ["left ", "right", "left ", "right"]
    assert item.vectors[:, 0].tolist() == [5.0, 0.5, 0.5, 5.0, 5.0, 5.0]
