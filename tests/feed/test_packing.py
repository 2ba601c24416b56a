"""Packing: batches keep the order, the budget and the positions, and are never too small for the CPU."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embed_corpus.data import Batch, Chunks
from embed_corpus.feed.packing import MIN_TOKENS, Packer, alone, make_batch, split_batch

BUDGETS = st.sampled_from([1, 7, 64, 255, 256, 257, 1000])
BLOCKS = st.lists(st.lists(st.one_of(st.integers(1, 12), st.integers(1, 400)), max_size=12), max_size=5)


def chunks_of(lengths: list[int], first_id: int = 1) -> Chunks:
    """Chunks of these lengths whose ids count up, so that each token can be told from all others."""
    n, ids = len(lengths), np.arange(first_id, first_id + sum(lengths), dtype=np.int32)
    zeros = np.zeros(n, np.int64)
    small = zeros.astype(np.int32)
    return Chunks(small, small, zeros, zeros, np.array(lengths, np.int32), (b"",) * n, ids)


def pack(blocks: list[list[int]], budget: int, *, static: bool = False) -> list[Batch]:
    """All batches of some blocks, ids counting up from 1."""
    packer, batches, first_id = Packer(budget, static=static), [], 1
    for lengths in blocks:
        batches += packer.add(chunks_of(lengths, first_id))
        first_id += sum(lengths)
    return [*batches, *packer.flush()]


def real_lengths(batch: Batch) -> list[int]:
    """Tokens of each chunk of a batch."""
    return np.diff(batch.cu_seqlens).tolist()


@given(BLOCKS, BUDGETS)
@settings(max_examples=200, deadline=None)
@example([[100, 5]], 64)
def test_order(blocks: list[list[int]], budget: int) -> None:
    """The real chunks of all batches, one after the other, are the input: none lost, split or moved."""
    batches = pack(blocks, budget)
    assert [n for b in batches for n in real_lengths(b)] == [n for lengths in blocks for n in lengths]
    real = [b.input_ids[: b.cu_seqlens[-1]] for b in batches]
    np.testing.assert_array_equal(np.concatenate([[], *real]), np.arange(1, 1 + sum(map(sum, blocks))))
    assert sum(b.n_chunks for b in batches) == sum(map(len, blocks))
    assert all(b.n_chunks > 0 for b in batches)


@given(BLOCKS, BUDGETS)
@settings(max_examples=200, deadline=None)
@example([[100, 5]], 64)
def test_budget(blocks: list[list[int]], budget: int) -> None:
    """Only a chunk over the budget makes a batch over it, alone; and the next chunk never fitted as well."""
    batches = [real_lengths(b) for b in pack(blocks, budget)]
    assert all(sum(lengths) <= budget or len(lengths) == 1 for lengths in batches)
    assert all(sum(lengths) + following[0] > budget for lengths, following in pairwise(batches))


@given(BLOCKS, BUDGETS)
@settings(max_examples=200, deadline=None)
@example([[100, 5]], 64)
def test_layout(blocks: list[list[int]], budget: int) -> None:
    """Positions restart with each chunk, edges and the longest length are those of the chunks, all int32."""
    for batch in pack(blocks, budget):
        lengths = np.diff(batch.cu_seqlens)
        assert batch.cu_seqlens[0] == 0
        assert batch.max_length == lengths.max() > lengths.min() - 1 >= 0
        filled = batch.position_ids[: batch.cu_seqlens[-1]]
        np.testing.assert_array_equal(filled, np.concatenate([np.arange(n) for n in lengths]))
        assert {a.dtype for a in (batch.input_ids, batch.position_ids, batch.cu_seqlens)} == {np.dtype(np.int32)}


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8), st.sampled_from([0, MIN_TOKENS, 1000]))
@settings(max_examples=200, deadline=None)
@example([MIN_TOKENS], MIN_TOKENS)
@example([MIN_TOKENS - 1], MIN_TOKENS)
def test_padding(lengths: list[int], shape: int) -> None:
    """A batch under the shape is filled up to just that, with tokens that belong to no chunk and have a position."""
    batch = make_batch(np.arange(1, sum(lengths) + 1, dtype=np.int32), np.array(lengths, np.int32), shape)
    assert len(batch.input_ids) == len(batch.position_ids) == max(shape, sum(lengths))
    assert real_lengths(batch) == lengths
    assert batch.n_chunks == len(lengths)
    assert not batch.input_ids[sum(lengths) :].any()
    assert not batch.position_ids[sum(lengths) :].any()
    assert batch.max_length == max(lengths)


@given(BLOCKS, st.sampled_from([400, 1000]))
@settings(max_examples=100, deadline=None)
def test_static(blocks: list[list[int]], budget: int) -> None:
    """A static packer's batches all have the budget's shape, and hold the same chunks as another's."""
    batches = pack(blocks, budget, static=True)
    assert {len(b.input_ids) for b in batches} <= {budget}
    assert [real_lengths(b) for b in batches] == [real_lengths(b) for b in pack(blocks, budget)]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=30), st.integers(100, 600))
@settings(max_examples=100, deadline=None)
def test_split(lengths: list[int], budget: int) -> None:
    """Splitting a batch keeps all chunks, in order, in batches of exactly the budget."""
    whole = make_batch(np.arange(1, sum(lengths) + 1, dtype=np.int32), np.array(lengths, np.int32))
    parts = split_batch(whole, budget)
    assert {len(part.input_ids) for part in parts} == {budget}
    assert [n for part in parts for n in real_lengths(part)] == lengths
    ids = np.concatenate([part.input_ids[: part.cu_seqlens[-1]] for part in parts])
    np.testing.assert_array_equal(ids, np.arange(1, sum(lengths) + 1))


def test_lowered_budget() -> None:
    """A budget that is lowered holds from the next batch on, and what waits is not lost."""
    packer = Packer(100)
    assert list(packer.add(chunks_of([60]))) == []
    packer.budget = 50
    batches = [*packer.add(chunks_of([30, 30], first_id=61)), *packer.flush()]
    assert [real_lengths(b) for b in batches] == [[60], [30], [30]]


def test_min_tokens() -> None:
    """256 is what was measured (shared/decisions.md); a smaller one breaks the promise of equal bits."""
    assert MIN_TOKENS == 256


def test_waits_across_blocks() -> None:
    """What a block leaves over waits for the next one, and flush gives it up once."""
    packer = Packer(10)
    assert list(packer.add(chunks_of([4]))) == []
    (full,) = packer.add(chunks_of([6, 1], first_id=5))
    assert real_lengths(full) == [4, 6]
    (rest,) = packer.flush()
    assert real_lengths(rest) == [1]
    assert list(packer.flush()) == []


PASSES = st.lists(st.lists(st.lists(st.integers(1, 90), min_size=1, max_size=5), max_size=6), max_size=4)


@given(PASSES, BUDGETS)
@settings(max_examples=200, deadline=None)
def test_passes_are_packed_whole(blocks: list[list[list[int]]], budget: int) -> None:
    """A pass is one text of a batch, positions and all; its chunks' edges lie in it, also when batches are split."""
    packer, batches, first_id = Packer(budget), [], 1
    for texts in blocks:
        chunks = chunks_of([n for text in texts for n in text], first_id)
        batches += packer.add(replace(chunks, passes=np.array([sum(text) for text in texts], np.int32)))
        first_id += sum(map(sum, texts))
    batches += packer.flush()
    for made in (batches, [part for batch in batches for part in split_batch(batch, 100)]):
        assert [n for b in made for n in real_lengths(b)] == [sum(text) for texts in blocks for text in texts]
        assert [n for b in made for n in np.diff(b.pooled).tolist()] == [
            n for texts in blocks for text in texts for n in text
        ]
        real = [b.input_ids[: b.cu_seqlens[-1]] for b in made]
        np.testing.assert_array_equal(np.concatenate([[], *real]), np.arange(1, first_id))
        for batch in made:
            assert set(batch.cu_seqlens.tolist()) <= set(batch.pooled.tolist())
            assert (batch.position_ids[batch.cu_seqlens[:-1]] == 0).all()
            assert batch.n_chunks == len(batch.pooled) - 1


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=6), st.data())
@settings(max_examples=100, deadline=None)
def test_alone(texts: list[list[int]], data: st.DataObject) -> None:
    """Texts that hold some of the chunks come out as they are, with those chunks' places in the batch and in them."""
    lengths, chunks = (
        np.array([sum(text) for text in texts], np.int32),
        np.array(list(chain.from_iterable(texts)), np.int32),
    )
    batch = make_batch(np.arange(1, lengths.sum() + 1, dtype=np.int32), lengths, pooled=chunks)
    wanted = data.draw(st.sets(st.integers(0, len(chunks) - 1), min_size=1))
    seen = []
    for text, there, here in alone(batch, np.array(sorted(wanted))):
        seen += here.tolist()
        for a, b in zip(there.tolist(), here.tolist(), strict=True):
            ids = [x.input_ids[x.pooled[i] : x.pooled[i + 1]].tolist() for x, i in ((text, a), (batch, b))]
            assert ids[0] == ids[1]
        assert text.cu_seqlens[1] in lengths
    assert seen == sorted(wanted)


@given(BLOCKS, BUDGETS)
@settings(max_examples=50, deadline=None)
def test_texts(blocks: list[list[int]], budget: int) -> None:
    """Asked for, each chunk's text goes where the chunk goes, also when a batch is split; unasked there are none."""
    packer, batches = Packer(budget, with_texts=True), []
    for lengths in blocks:
        chunks = chunks_of(lengths)
        batches += packer.add_ids(chunks.input_ids, chunks.n_tokens, None, [str(n) for n in lengths])
    batches += packer.flush()
    halves = [half for batch in batches for half in split_batch(batch, max(1, budget // 2))]
    for batch in (*batches, *halves):
        assert batch.texts == tuple(map(str, real_lengths(batch)))
    assert [n for batch in batches for n in real_lengths(batch)] == [n for lengths in blocks for n in lengths]
    assert all(batch.texts is None for batch in pack(blocks, budget))
