"""Token windows: where chunks begin and end, and the characters they span."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.data import Chunks
from embed_corpus.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.chunk.tokenizer import Tokens, WordTokenizer

__all__ = ["Chunker", "windows"]


def windows(tokens: Tokens, capacity: int, overlap: int = 0) -> tuple[list[tuple[int, int]], int]:
    """Cut tokens into windows of at most `capacity`, each ending at the last word boundary inside.

    A window ends inside a word only when the word alone exceeds it. A window begins where
    the one before ended, or, with `overlap` (in tokens, < capacity), at the first word
    boundary inside the last `overlap` tokens of it.

    Returns:
        (first token, end token) of each window, and how many end inside a word.
    """
    n = len(tokens.ids)
    if n <= capacity:
        return [(0, n)], 0
    edges = np.concatenate([[0], np.flatnonzero(tokens.word_edge[1:]) + 1, [n]])

    def end_of(begin: int) -> int:
        """Return the window's end: a word edge, else a character edge, else wherever it is full."""
        full = begin + capacity
        last = int(edges[np.searchsorted(edges, full, "right") - 1]) if full < n else n
        if last > begin:
            return last
        inside = np.flatnonzero(tokens.char_edge[begin + 1 : full + 1])
        return begin + 1 + int(inside[-1]) if len(inside) else full

    cut: list[tuple[int, int]] = []
    inside_words = begin = 0
    while True:
        end = end_of(begin)
        cut.append((begin, end))
        if end == n:
            return cut, inside_words
        inside_words += not tokens.word_edge[end]
        back = int(edges[np.searchsorted(edges, max(end - overlap, begin + 1))])
        # A window that would not reach beyond this one's end is no new chunk.
        begin = back if back < end and end_of(back) > end else end


@dataclass(frozen=True)
class Chunker:
    """Cuts documents into chunks of at most `limit` tokens, special tokens and prompt included.

    Attributes:
        tokenizer: the model's.
        limit: tokens of a chunk at most.
        overlap: tokens that a chunk repeats of the one before, at most.
        prompt: put before every chunk; counts inside the limit.
        truncate: keep only the first chunk of each document.

    Raises:
        UsageError: the limit leaves no room for text, or not more room than the overlap.
    """

    tokenizer: WordTokenizer
    limit: int
    overlap: int = 0
    prompt: str = ""
    truncate: bool = False

    def __post_init__(self) -> None:
        if self.overlap >= self.capacity:
            special = self.limit - self.capacity
            raise UsageError(
                f"chunks of {self.limit} tokens hold {special} special and prompt tokens, which leaves "
                f"{max(self.capacity, 0)} for text: too few for an overlap of {self.overlap}. "
                "Raise --chunk-tokens or lower --chunk-overlap."
            )

    @property
    def special(self) -> int:
        """Special tokens put around every chunk."""
        return len(self.tokenizer.prefix) + len(self.tokenizer.suffix)

    @cached_property
    def capacity(self) -> int:
        """Tokens of text that fit into a chunk."""
        prompt = len(self.tokenizer.ids([self.prompt])[0]) if self.prompt else 0
        return self.limit - self.special - prompt

    def __call__(self, texts: Sequence[str]) -> Chunks:
        """Cut the documents of one block.

        The spans of a document's chunks cover all its characters: a span reaches up to the
        first token of the next window, so white space without a token is in it. A document
        without any token, special ones included, gets no chunk.
        """
        out = _Columns()
        capacity = self.capacity
        encoded = self.tokenizer.encode(texts, enough=capacity if self.truncate else None)
        for doc, (text, tokens) in enumerate(zip(texts, encoded, strict=True)):
            self._cut(doc, text, tokens, capacity, out)
        return out.chunks()

    def _cut(self, doc: int, text: str, tokens: Tokens, capacity: int, out: _Columns) -> None:
        n = len(tokens.ids)
        cut, inside_words = windows(tokens, capacity, self.overlap)
        truncated = self.truncate and (len(cut) > 1 or not tokens.complete)
        if truncated:
            cut = cut[:1]
            inside_words = int(not tokens.word_edge[cut[0][1]])
        edges = [(a and int(tokens.starts[a]), int(tokens.starts[b]) if b < n else len(text)) for a, b in cut]
        pieces = [text[a:b] for a, b in edges]
        ids = [tokens.ids[a:b] for a, b in cut]
        if self.prompt:
            # How a prompt joins the first word depends on the tokenizer, so the two are tokenised together.
            ids = self.tokenizer.ids([self.prompt + piece for piece in pieces])
            over = max(map(len, ids)) + self.special - self.limit
            if over > 0 and capacity == 1:
                raise UsageError(f"--chunk-tokens {self.limit} leaves no room beside the prompt: raise it.")
            if over > 0:  # a piece of a word may give far more tokens than it had: not all at once, then
                self._cut(doc, text, tokens, max(capacity - over, capacity // 2), out)
                return
        out.truncated += truncated
        out.cut_words += inside_words
        for index, (span, piece, chunk) in enumerate(zip(edges, pieces, ids, strict=True)):
            whole = np.concatenate([self.tokenizer.prefix, chunk, self.tokenizer.suffix])
            if len(whole):
                out.rows.append((doc, index, *span, len(whole)))
                out.ids.append(whole)
                out.hashes.append(blake2b(piece.encode(), digest_size=16).digest())


class _Columns:
    """Collects the columns of `Chunks` row by row."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int, int, int]] = []
        self.ids: list[NDArray[np.int32]] = []
        self.hashes: list[bytes] = []
        self.truncated = self.cut_words = 0

    def chunks(self) -> Chunks:
        columns = np.array(self.rows, np.int64).reshape(-1, 5).T
        doc, index, n_tokens = (columns[i].astype(np.int32) for i in (0, 1, 4))
        ids = np.concatenate(self.ids) if self.ids else np.empty(0, np.int32)
        return Chunks(
            doc,
            index,
            columns[2],
            columns[3],
            n_tokens,
            tuple(self.hashes),
            ids,
            self.truncated,
            self.cut_words,
        )
