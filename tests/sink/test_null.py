"""The sink that keeps nothing."""

from __future__ import annotations

import pytest

from embed_corpus.sink.null import NullSink
from embed_corpus.sink.parts import PartWriter
from embed_corpus.store.layout import Layout
from kit.part_blocks import BAD, FORM, block_of, huge_block, in_pieces, shard_of, vectors_for


@pytest.mark.parametrize("size", [5, 24])
def test_it_counts_what_a_part_counts(layout: Layout, size: int) -> None:
    """Blocks, rejects and a document in pieces count as they do for a part, and nothing is written."""
    shard = shard_of(9)
    huge = huge_block(shard, 2, 24)
    blocks = [block_of(shard, 0, 2), *(piece for piece, _ in in_pieces(huge, vectors_for(huge), size))]
    blocks.append(block_of(shard, 3, 7, rejects=(BAD,)))
    null, part = NullSink(shard, FORM, layout, "n"), PartWriter(shard, FORM, layout, "n")
    for block in blocks:
        assert null.append(block, vectors_for(block)) == part.append(block, vectors_for(block))
    part.close()
    assert null.commit("digest") == {"counts": part.counts.in_part()}
    assert layout.parts() == []
