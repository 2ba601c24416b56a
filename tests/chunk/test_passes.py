"""Passes: whole chunks of one document, in order, as many as fit, special tokens around them all."""

from __future__ import annotations

from hashlib import blake2b
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embed_corpus.chunk.passes import in_passes
from embed_corpus.chunk.tokenizer import WordTokenizer, is_long
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Chunks

DOCUMENTS = st.lists(st.lists(st.integers(1, 9), max_size=8), max_size=6)
"""Tokens of text in each chunk of each document; a document may have none."""
PREFIX, SUFFIX = -1, -2


def chunks_of(documents: list[list[int]], special: tuple[int, int]) -> tuple[Chunks, list[list[int]]]:
    """Chunks with their special tokens, and each document's ids, which tell every token from all others."""
    ids, texts, n = [np.empty(0, np.int32)], [], 0
    for sizes in documents:
        texts.append(list(range(n, n + sum(sizes))))
        for size in sizes:
            ids.append(np.array([PREFIX] * special[0] + list(range(n, n + size)) + [SUFFIX] * special[1], np.int32))
            n += size
    doc = np.repeat(np.arange(len(documents)), [len(sizes) for sizes in documents]).astype(np.int32)
    index = np.concatenate([np.arange(0), *(np.arange(len(sizes)) for sizes in documents)]).astype(np.int32)
    zeros, hashes = np.zeros(len(doc), np.int64), np.zeros((len(doc), 16), np.uint8)
    lengths = np.array([len(each) for each in ids[1:]], np.int32)
    return Chunks(doc, index, zeros, zeros, lengths, hashes, np.concatenate(ids)), texts


@given(DOCUMENTS, st.sampled_from([(0, 0), (1, 0), (0, 1), (2, 1)]), st.integers(9, 40))
@settings(max_examples=300, deadline=None)
@example([[], [0], [5, 5]], (1, 1), 9)
def test_passes(documents: list[list[int]], special: tuple[int, int], room: int) -> None:
    """Passes are a document's chunks, filled greedily; their ids are its own, with special tokens outside alone."""
    before, ids = chunks_of(documents, special)
    names = [f"text {i}" for i in range(len(documents))]
    after = in_passes(before, room + sum(special), special, names)
    expected, of_passes = [], []
    for doc, sizes in enumerate(documents):
        at, begin = 0, 0
        while at < len(sizes):
            stop = max((k for k in range(at + 1, len(sizes) + 1) if sum(sizes[at:k]) <= room), default=at + 1)
            size = sum(sizes[at:stop])
            expected.append([PREFIX] * special[0] + ids[doc][begin : begin + size] + [SUFFIX] * special[1])
            of_passes += [[special[0] * (k == at) + sizes[k] + special[1] * (k == stop - 1) for k in range(at, stop)]]
            at, begin = stop, begin + size
    assert after.passes.tolist() == list(map(len, expected))
    lengths = list(chain.from_iterable(of_passes))
    assert after.input_ids.tolist() == list(chain.from_iterable(expected))
    assert after.n_tokens.tolist() == lengths
    assert [h.tobytes() for h in after.content_hash] == [
        blake2b(names[doc].encode(), digest_size=16).digest() for doc in before.doc
    ]
    numbers = [number for number, each in enumerate(of_passes) for _ in each]
    for i, number in enumerate(numbers):
        part, place = after.around(i)
        assert part.input_ids.tolist() == expected[number]
        assert (part.passes.tolist(), part.n_tokens.tolist()) == ([len(expected[number])], of_passes[number])
        assert (int(part.doc[place]), int(part.index[place])) == (int(after.doc[i]), int(after.index[i]))


def test_passes_of_a_huge_document(tiny_model: Path, texts: list[str]) -> None:
    """A document that is tokenised in slabs has full passes all the same, of its tokens in order."""
    text, tokenizer = " ".join(texts), WordTokenizer(tiny_model)
    assert is_long(text)
    chunks = Chunker(tokenizer, 40, pass_tokens=3000)(["short", text])
    inner = np.concatenate([part.ids for part in tokenizer.encode(["short", text])])
    edges = np.cumsum([0, *chunks.passes])
    passes = [chunks.input_ids[a:b] for a, b in pairwise(edges)]
    assert all(ids[0] == tokenizer.prefix and ids[-1] == tokenizer.suffix for ids in passes)
    np.testing.assert_array_equal(np.concatenate([ids[1:-1] for ids in passes]), inner)
    assert (chunks.passes[1:-1] > 3000 - 40).all()
    assert (chunks.passes <= 3000).all()
