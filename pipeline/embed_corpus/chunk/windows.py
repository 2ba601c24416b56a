"""Documents to chunks: token windows, the characters they span, special tokens around them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow.compute as pc

from embed_corpus.chunk.breaks import breaks_of
from embed_corpus.chunk.cut import cut_long, windows
from embed_corpus.chunk.passes import in_passes
from embed_corpus.chunk.tokenizer import batches, is_long
from embed_corpus.chunk.tokens import LaneDiffersError, stretches
from embed_corpus.chunk.utf8 import LongText
from embed_corpus.data import Chunks
from embed_corpus.errors import LaneError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from embed_corpus.chunk.tokenizer import WordTokenizer
    from embed_corpus.chunk.tokens import Encoded

__all__ = ["HUGE", "Chunker", "is_huge"]

HUGE = 1 << 20
"""Bytes of a text above which its chunks come some at a time: more than a slab, whatever its characters."""


class _Rows(NamedTuple):
    """Chunks on their way: int64[n] each.

    `text` is the text's number, `nth` the chunk's within it; `first` and `stop` are tokens, `start` and
    `end` characters. `inside` is 1 where a window ends inside a word, `lost` where text behind it was left out.
    """

    text: NDArray[np.int64]
    nth: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    inside: NDArray[np.int64]
    lost: NDArray[np.int64]


@dataclass(frozen=True)
class Chunker:
    """Cuts documents into chunks of at most `limit` tokens, special tokens and prompt included.

    Attributes:
        tokenizer: the model's.
        limit: tokens of a chunk at most.
        overlap: tokens that a chunk repeats of the one before, at most.
        prompt: put before every chunk; counts inside the limit.
        truncate: keep only the first chunk of each document.
        by: where a chunk ends if it can: any word ("tokens"), "sentences" or "paragraphs".
        pass_tokens: of several chunks that go through the model together (late chunking), special ones included;
            0: each goes alone.

    Raises:
        UsageError: the limit leaves no room for text, or not more room than the overlap; or a text's end is to be
            kept.
    """

    tokenizer: WordTokenizer
    limit: int
    overlap: int = 0
    prompt: str = ""
    truncate: bool = False
    by: str = "tokens"
    pass_tokens: int = 0

    def __post_init__(self) -> None:
        if self.truncate and self.tokenizer.cut_at != "right":
            raise UsageError(
                "--long truncate keeps the beginning of a long text, but tokenizer_config.json or tokenizer.json of "
                f"the model wants its end kept (truncation_side {self.tokenizer.cut_at!r}). Use --long split, or set "
                "truncation_side to right in a copy of the model."
            )
        if self.overlap >= self.capacity:
            special = self.limit - self.capacity
            raise UsageError(
                f"chunks of {self.limit} tokens hold {special} special and prompt tokens, which leaves "
                f"{max(self.capacity, 0)} for text: too few for an overlap of {self.overlap}. "
                "Raise --chunk-tokens or lower --chunk-overlap."
            )

    @property
    def longest(self) -> int:
        """Tokens that go through the model together at most."""
        return self.pass_tokens or self.limit

    @property
    def special(self) -> int:
        """Special tokens put around every chunk."""
        return len(self.tokenizer.prefix) + len(self.tokenizer.suffix)

    @cached_property
    def capacity(self) -> int:
        """Tokens of text that fit into a chunk."""
        prompt = sum(len(encoded.ids) for encoded in self.tokenizer.encode([self.prompt])) if self.prompt else 0
        return self.limit - self.special - prompt

    def __call__(self, texts: Sequence[str]) -> Chunks:
        """Cut the documents of one block.

        The spans of a document's chunks cover all its characters: a span reaches up to the
        first token of the next window, so white space without a token is in it. A document
        without any token, special ones included, gets no chunk.
        """
        try:
            chunks = self._cut_block(texts)
        except LaneDiffersError as error:
            self.tokenizer.distrust(error)
            chunks = self._cut_block(texts)
        if not self.pass_tokens:
            return chunks
        special = len(self.tokenizer.prefix), len(self.tokenizer.suffix)
        return in_passes(chunks, self.pass_tokens, special, texts)

    def parts(self, texts: pa.StringArray) -> Iterator[Chunks]:
        """Do what a call does with the texts as they were read; the chunks of a huge one come some at a time.

        Raises:
            LaneError: a fast tokenizer turned out wrong when some of a text's chunks were out.
        """
        if self.prompt or self.truncate or self.pass_tokens or not is_huge(texts):
            yield self(texts.to_pylist())
            return
        try:
            yield from self._cut_long(LongText(texts), 0)
        except LaneDiffersError as error:
            self.tokenizer.distrust(error)
            raise LaneError(self.tokenizer.differs) from error

    def _cut_block(self, texts: Sequence[str]) -> Chunks:
        done: list[Chunks] = []
        n_texts = 0
        for batch in batches(texts):
            if is_long(batch[0]) and not (self.prompt or self.truncate):
                done += self._cut_long(batch[0], n_texts)
            else:
                (encoded,) = self.tokenizer.encode(batch, enough=self.capacity if self.truncate else None)
                pieces = list(self._cut(encoded, np.arange(len(batch)), self.capacity))
                done.append(self._chunks(batch, n_texts, pieces))
            n_texts += len(batch)
        return _laid_end_to_end(done)

    def _cut_long(self, text: str | LongText, number: int) -> Iterator[Chunks]:
        """Yield the chunks of a text that comes in slabs, some at a time."""
        n_before = 0
        for part in cut_long(self.tokenizer.slabs(text), self.capacity, self.overlap, self.by):
            first, stop, start, end, inside = part.windows
            zeros = np.zeros_like(first)
            rows = _Rows(zeros, n_before + np.arange(len(first)), first, stop, start, end, inside, zeros)
            chunks = self._chunks([part.text], number, [(rows, part.ids)])
            yield replace(chunks, start=chunks.start + part.base, end=chunks.end + part.base)
            n_before += len(first)

    def _cut(
        self, encoded: Encoded, which: NDArray[np.int64], capacity: int
    ) -> Iterator[tuple[_Rows, NDArray[np.int32]]]:
        """Cut some of the texts and yield their chunks with the array of ids that they point into."""
        rows = self._rows(encoded, which, capacity)
        if not self.prompt:
            yield rows, encoded.ids
            return
        # How a prompt joins the first word depends on the tokenizer, so the two are tokenised together.
        prompted = [self.prompt + piece for piece in _pieces(encoded.texts, rows)]
        parts = list(self.tokenizer.encode(prompted))
        ids = np.concatenate([np.empty(0, np.int32), *(part.ids for part in parts)])
        n_tokens = np.concatenate([np.empty(0, np.int64), *(np.diff(part.edges) for part in parts)])
        stop = n_tokens.cumsum()
        over = np.zeros(len(encoded.texts), np.int64)
        np.maximum.at(over, rows.text, n_tokens + self.special - self.limit)
        if capacity == 1 and over.any():
            raise UsageError(f"--chunk-tokens {self.limit} leaves no room beside the prompt: raise it.")
        fits = over[rows.text] == 0
        yield _Rows(*(column[fits] for column in rows._replace(first=stop - n_tokens, stop=stop))), ids
        # A piece of a word may give far more tokens than it had: not all at once, then.
        for i in np.flatnonzero(over).tolist():
            yield from self._cut(encoded, np.array([i]), max(capacity - int(over[i]), capacity // 2))

    def _rows(self, encoded: Encoded, which: NDArray[np.int64], capacity: int) -> _Rows:
        first, stop = encoded.edges[which], encoded.edges[which + 1]
        fit = stop - first <= capacity
        whole = which[fit]
        rows = np.zeros((8, len(whole)), np.int64)
        rows[[0, 2, 3]] = whole, first[fit], stop[fit]
        rows[5] = [len(encoded.texts[i]) for i in whole.tolist()]
        cut = [self._windows(encoded, i, capacity) for i in which[~fit].tolist()]
        return _Rows(*np.concatenate([rows, *cut], axis=1))

    def _windows(self, encoded: Encoded, i: int, capacity: int) -> NDArray[np.int64]:
        """Return the chunks of a text that does not fit into one, as the columns of `_Rows`."""
        tokens = encoded.tokens(i)
        breaks = breaks_of(encoded.texts[i], self.by)
        found = islice(windows(tokens, capacity, self.overlap, breaks=breaks), 1 if self.truncate else None)
        first, stop, inside = np.array(list(found), np.int64).T
        starts = np.append(tokens.starts, len(encoded.texts[i]))
        start, base = np.where(first > 0, starts[first], 0), encoded.edges[i]
        nth, text, lost = np.arange(len(first)), np.full(len(first), i), np.full(len(first), self.truncate)
        return np.array([text, nth, base + first, base + stop, start, starts[stop], inside, lost])

    def _chunks(self, texts: Sequence[str], n_before: int, pieces: list[tuple[_Rows, NDArray[np.int32]]]) -> Chunks:
        """Put the special tokens around the chunks of some texts, and the chunks in order."""
        bases = np.cumsum([0, *(len(ids) for _, ids in pieces)])
        shifted = [
            rows._replace(first=rows.first + base, stop=rows.stop + base)
            for (rows, _), base in zip(pieces, bases[:-1], strict=True)
        ]
        rows = _Rows(*(np.concatenate(columns) for columns in zip(*shifted, strict=True)))
        order = np.argsort(rows.text, kind="stable")
        order = order[(rows.stop - rows.first)[order] + self.special > 0]
        rows = _Rows(*(column[order] for column in rows))
        prefix, suffix = self.tokenizer.prefix, self.tokenizer.suffix
        begins, lengths = np.empty((len(order), 3), np.int64), np.empty((len(order), 3), np.int64)
        begins[:] = np.array([bases[-1], 0, bases[-1] + len(prefix)])
        begins[:, 1], lengths[:] = rows.first, np.array([len(prefix), 0, len(suffix)])
        lengths[:, 1] = rows.stop - rows.first
        flat = np.concatenate([*(ids for _, ids in pieces), prefix, suffix])
        digests = b"".join(blake2b(piece.encode(), digest_size=16).digest() for piece in _pieces(texts, rows))
        return Chunks(
            (rows.text + n_before).astype(np.int32),
            rows.nth.astype(np.int32),
            rows.start,
            rows.end,
            lengths.sum(axis=1).astype(np.int32),
            np.frombuffer(digests, np.uint8).reshape(-1, 16),
            flat[stretches(begins.ravel(), lengths.ravel())],
            int(rows.lost.sum()),
            int(rows.inside.sum()),
            unknown=self._unknown(flat, rows),
        )

    def _unknown(self, ids: NDArray[np.int32], rows: _Rows) -> NDArray[np.bool_]:
        """Tell which chunks have no token that says anything: none at all, or those for what is not known, bool[n]."""
        if not len(self.tokenizer.unknown_ids):
            return rows.stop - rows.first <= self._prompt_tokens
        known = np.concatenate([[0], np.cumsum(~np.isin(ids, self.tokenizer.unknown_ids))])
        found: NDArray[np.bool_] = known[rows.stop] - known[rows.first] <= self._prompt_tokens
        return found

    @cached_property
    def _prompt_tokens(self) -> int:
        """Tokens of the prompt that are known, without white space at its end, which joins the text."""
        ids = np.concatenate([np.empty(0, np.int32), *(e.ids for e in self.tokenizer.encode([self.prompt.rstrip()]))])
        return int((~np.isin(ids, self.tokenizer.unknown_ids)).sum()) if self.prompt else 0


def is_huge(texts: pa.StringArray) -> bool:
    """Whether the texts are one, and that so long that its chunks should come some at a time."""
    return len(texts) == 1 and pc.binary_length(texts)[0].as_py() > HUGE


def _pieces(texts: Sequence[str], rows: _Rows) -> Iterator[str]:
    """Yield each chunk's text."""
    for i, start, end in zip(rows.text.tolist(), rows.start.tolist(), rows.end.tolist(), strict=True):
        yield texts[i][start:end]


def _laid_end_to_end(parts: list[Chunks]) -> Chunks:
    """Return the chunks of all parts as one."""
    if len(parts) == 1:
        return parts[0]
    return Chunks(
        np.concatenate([np.empty(0, np.int32), *(part.doc for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *(part.index for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.start for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.end for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *(part.n_tokens for part in parts)]),
        np.concatenate([np.empty((0, 16), np.uint8), *(part.content_hash for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *(part.input_ids for part in parts)]),
        sum(part.truncated for part in parts),
        sum(part.cut_words for part in parts),
        unknown=np.concatenate([np.empty(0, bool), *(part.unknown for part in parts if part.unknown is not None)]),
    )
