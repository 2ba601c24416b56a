"""What holds for the chunks of any document, checked against the tokenizers library and plain search."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from embed_corpus.chunk.breaks import breaks_of
from embed_corpus.chunk.cut import windows
from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.tokens import Tokens
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Chunks


class Kind:
    """A tokenizer of one kind: as the chunker reads it, and whole."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        tokenizer.save(str(folder / "tokenizer.json"))
        self.words = WordTokenizer(folder)
        self.whole = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def ids(self, text: str) -> list[int]:
        """Ids of a text, special tokens included, by the tokenizers library alone."""
        return self.whole.encode(text).ids


def ids_of(chunks: Chunks) -> list[list[int]]:
    """Each chunk's ids."""
    return [part.tolist() for part in np.split(chunks.input_ids, np.cumsum(chunks.n_tokens)[:-1])]


def spans(chunks: Chunks, text: str) -> list[str]:
    """Each chunk's text."""
    return [text[a:b] for a, b in zip(chunks.start, chunks.end, strict=True)]


def break_tokens(tokens: Tokens, text: str, by: str) -> list[set[int]]:
    """Tokens that begin a word at a break, the coarsest kind first, then all words: found by trying every token."""
    edges = {at for at in range(len(tokens)) if tokens.words.before(at) == at}
    kinds = []
    for breaks in breaks_of(text, by):
        kinds.append(set())
        for end, begin in zip(breaks.ends.tolist(), breaks.begins.tolist(), strict=True):
            kinds[-1] |= {at for at in edges if end <= tokens.starts[at] <= begin}
    return [*kinds, edges]


def check_document(kind: Kind, text: str, limit: int, overlap: int, by: str) -> None:
    """Assert that a document's chunks cover it, keep the limit, and begin and end where they should."""
    chunker = Chunker(kind.words, limit, overlap, by=by)
    chunks = chunker([text])
    (encoded,) = kind.words.encode([text])
    tokens, n_special = encoded.tokens(0), len(kind.ids(""))
    # coverage: from the first character to the last, without a gap, in order
    assert (chunks.start[0], chunks.end[-1]) == (0, len(text))
    assert (chunks.start[1:] <= chunks.end[:-1]).all()
    assert (np.diff(chunks.end) > 0).all()
    assert chunks.index.tolist() == list(range(len(chunks)))
    # the limit, and whole documents where they fit
    assert chunks.n_tokens.max() <= limit
    assert (len(chunks) == 1) == (len(encoded.ids) + n_special <= limit)
    # spans are exact: what stands there gives these very ids
    if not chunks.cut_words:
        assert ids_of(chunks) == [kind.ids(span) for span in spans(chunks, text)]
    if len(chunks) == 1:
        return
    # every window ends at the best break that fits, and repeats `overlap` tokens at most
    cut = list(windows(tokens, chunker.capacity, overlap, breaks=breaks_of(text, by)))
    assert len(cut) == len(chunks)
    assert [end - begin + n_special for begin, end, _ in cut] == chunks.n_tokens.tolist()
    kinds = break_tokens(tokens, text, by)
    for begin, end, inside in cut[:-1]:
        full = begin + chunker.capacity
        best = next((max(fits) for kind in kinds if (fits := {at for at in kind if begin < at <= full})), None)
        assert inside == (best is None)
        assert end == best or inside
    for (begin, end, _), (later, last, _) in pairwise(cut):
        assert begin < later <= end < last
        assert end - later <= overlap
        assert later == end or any(later in kind for kind in kinds)
    assert overlap or [begin for begin, _, _ in cut[1:]] == [end for _, end, _ in cut[:-1]]
