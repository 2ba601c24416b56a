"""The fast lane for WordPiece as BERT's."""

from __future__ import annotations

import string
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from embed_corpus.chunk.slow import code_points
from embed_corpus.chunk.tokens import Encoded, KnownWords, Tokens, stretches

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.chunk.slow import SlowLane

__all__ = ["PieceLane"]

_PUNCTUATION = np.isin(np.arange(128), [ord(c) for c in string.punctuation])
_REMEMBERED = 1 << 16
_LONGEST_REMEMBERED = 32
"""Characters of a word that may come again; Chinese has no spaces, and its stretches do not."""


class _OddWord(NamedTuple):
    """An odd word's tokens, as if it were a text; word_edge bool[n]."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    char_edge: NDArray[np.bool_]
    word_edge: NDArray[np.bool_]


class PieceLane:
    """tokie, for WordPiece with BERT's normaliser and pre-tokenizer.

    It is used for printable ASCII alone. Nothing looks across white space, so the odd words, those with
    any other character, are left to the slow lane, and remembered.
    """

    name = "tokie"

    def __init__(self, tokenizer: Any, spec: dict[str, Any], added: re.Pattern[str], slow: SlowLane) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._slow = slow
        self._added = added
        self._odd: dict[str, _OddWord] = {}
        model, prefix = spec["model"], spec["model"]["continuing_subword_prefix"]
        ids = [*model["vocab"].values(), *(token["id"] for token in spec["added_tokens"])]
        self._chars = np.zeros(max(ids) + 1, np.int32)
        self._chars[list(model["vocab"].values())] = [len(piece.removeprefix(prefix)) for piece in model["vocab"]]
        # These stand for characters of any number: with none to their name, the text's count is not reached.
        self._chars[[model["vocab"][model["unk_token"]], *(token["id"] for token in spec["added_tokens"])]] = 0

    def encode(self, texts: Sequence[str]) -> tuple[Encoded, NDArray[np.bool_]]:
        """Tokenise texts; see `Lane`."""
        cleaned = [_spaced(text) for text in texts]
        spans = [None if self._added.search(text) else _odd_words(text) for text in cleaned]
        plain, n_before = _plain(cleaned, spans)
        raw, lengths = self._tokenizer.encode_batch_flat(plain, add_special_tokens=False)
        ids, edges = raw.astype(np.int32), np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        covered = np.concatenate([[0], np.cumsum(self._chars[ids], dtype=np.int64)])
        n_odd = np.array([len(words or ()) for words in spans], np.int64)
        last = np.cumsum(n_odd + 1) - 1  # each text's last entry in `n_before`
        taken = np.diff(covered[edges]) == n_before[last]
        taken &= [words is not None for words in spans]
        # The plain token before which each odd word and each text's end comes.
        base, end = np.repeat(edges[:-1], n_odd + 1), np.repeat(edges[1:], n_odd + 1)
        stops = np.searchsorted(covered, n_before + covered[base]).clip(base, end)
        stops[last] = edges[1:]
        odd = self._look_up([text[a:b] for text, words in zip(cleaned, spans, strict=True) for a, b in words or ()])
        ids, edges, odd_tokens = _merged(ids, stops, last, [word.ids for word in odd])
        odd_chars = np.array([span for words in spans for span in words or ()], np.int64).reshape(-1, 2)
        odd_chars += np.cumsum([0, *map(len, cleaned)])[:-1].repeat(n_odd)[:, None]
        block = _Block(cleaned, taken, edges, self._chars[ids], odd, odd_tokens, odd_chars)
        return Encoded(texts, ids, edges, block.tokens), taken

    def _look_up(self, words: Sequence[str]) -> list[_OddWord]:
        """Return the odd words' tokens."""
        if len(self._odd) > _REMEMBERED:
            self._odd.clear()
        new = [word for word in dict.fromkeys(words) if word not in self._odd]
        found = self._cut_words(new)
        self._odd |= {word: odd for word, odd in found.items() if len(word) <= _LONGEST_REMEMBERED}
        return [found.get(word) or self._odd[word] for word in words]

    def _cut_words(self, words: list[str]) -> dict[str, _OddWord]:
        """Tokenise words in the slow lane, all in one text."""
        text = " ".join(words)
        encoded = self._slow.encode([text])
        tokens = encoded.tokens(0)
        assert isinstance(tokens.words, KnownWords)
        word_edge = np.zeros(len(tokens) + 1, bool)
        word_edge[tokens.words.edges] = True
        if len(tokens):  # the first token of a text is an edge even at a mark, but that of a word in it is not
            word_edge[0] = not unicodedata.combining(text[tokens.starts[0]])
        ends = np.cumsum([len(word) + 1 for word in words])
        edges = [0, *tokens.starts.searchsorted(ends).tolist()]
        found = {}
        for word, end, a, b in zip(words, ends.tolist(), edges[:-1], edges[1:], strict=True):
            starts = tokens.starts[a:b] - (end - len(word) - 1)
            found[word] = _OddWord(encoded.ids[a:b].copy(), starts, tokens.char_edge[a:b].copy(), word_edge[a:b].copy())
        return found


@dataclass(frozen=True)
class _Block:
    """Texts that went through the lane together.

    Attributes:
        texts: the texts, as `_spaced` gives them.
        taken: bool[n_texts].
        edges: int64[n_texts + 1], first token of each text.
        n_chars: int32[T], characters of each plain token.
        odd: the odd words.
        odd_tokens: int64[n_odd], first token of each.
        odd_chars: int64[n_odd, 2], begin and end of each among the characters of all texts.
    """

    texts: list[str]
    taken: NDArray[np.bool_]
    edges: NDArray[np.int64]
    n_chars: NDArray[np.int32]
    odd: list[_OddWord]
    odd_tokens: NDArray[np.int64]
    odd_chars: NDArray[np.int64]

    def tokens(self, i: int) -> Tokens:
        """Return the tokens of a text that was taken."""
        starts, char_edge, word_edge = self._places
        own = slice(self.edges[i], self.edges[i + 1])
        return Tokens(starts[own], char_edge[own], KnownWords(word_edge[own]))

    @cached_property
    def _places(self) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Starts (in each token's own text), char_edge and word_edge of all tokens."""
        # One byte a character: what stands for an odd one is not looked at.
        points = np.frombuffer("".join(self.texts).encode("ascii", "replace"), np.uint8)
        n_tokens = np.diff(self.edges)
        sizes = np.array([len(text) for text in self.texts], np.int64)
        n_odd = np.array([len(word.ids) for word in self.odd], np.int64)
        odd = stretches(self.odd_tokens, n_odd)
        filled, n_chars = points != ord(" "), self.n_chars.copy()
        filled[stretches(self.odd_chars[:, 0], np.diff(self.odd_chars)[:, 0])] = False
        n_chars[odd] = 0
        filled[np.repeat(~self.taken, sizes)] = False
        n_chars[np.repeat(~self.taken, n_tokens)] = 0
        # Odd tokens take the place of the plain one behind them until they get their own.
        starts = np.append(np.flatnonzero(filled), 0)[np.cumsum(n_chars, dtype=np.int64) - n_chars]
        here, behind = points[starts], points[starts - 1]
        word_edge = (behind == ord(" ")) | _PUNCTUATION[here] | _PUNCTUATION[behind]
        char_edge = np.ones(len(starts), bool)
        if self.odd:
            starts[odd] = np.concatenate([word.starts for word in self.odd]) + self.odd_chars[:, 0].repeat(n_odd)
            char_edge[odd] = np.concatenate([word.char_edge for word in self.odd])
            word_edge[odd] = np.concatenate([word.word_edge for word in self.odd])
        return starts - np.repeat(np.cumsum(sizes) - sizes, n_tokens), char_edge, word_edge


def _plain(texts: list[str], spans: list[list[tuple[int, int]] | None]) -> tuple[list[str], NDArray[np.int64]]:
    """Take the odd words out of texts.

    Returns:
        The texts without them, and int64[n_odd + n_texts]: how many characters but spaces are left of a
        text before each of its odd words and before its end.
    """
    plain: list[str] = []
    n_before: list[int] = []
    for text, words in zip(texts, spans, strict=True):
        edges = [0, *(at for span in words or () for at in span), 0 if words is None else len(text)]
        pieces = [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
        n_before += accumulate(len(piece) - piece.count(" ") for piece in pieces)
        plain.append("".join(pieces))
    return plain, np.array(n_before, np.int64)


def _merged(
    ids: NDArray[np.int32], stops: NDArray[np.int64], last: NDArray[np.int64], odd: list[NDArray[np.int32]]
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Put the tokens of odd words among the plain ones.

    Args:
        ids: the plain tokens of all texts.
        stops: int64[n_odd + n_texts], the plain token before which each odd word and each text's end comes.
        last: int64[n_texts], which of the stops are texts' ends.
        odd: ids of each odd word.

    Returns:
        All ids, the edges of the texts among them, and the first token of each odd word.
    """
    is_odd = np.ones(len(stops), bool)
    is_odd[last] = False
    begins, lengths = np.zeros((len(stops), 2), np.int64), np.zeros((len(stops), 2), np.int64)
    begins[1:, 0], lengths[:, 0] = stops[:-1], np.diff(stops, prepend=0)
    lengths[is_odd, 1] = [len(word) for word in odd]
    begins[:, 1] = len(ids) + np.cumsum(lengths[:, 1]) - lengths[:, 1]
    ends = np.cumsum(lengths.sum(axis=1))
    merged = np.concatenate([ids, *odd])[stretches(begins.ravel(), lengths.ravel())] if odd else ids
    return merged, np.concatenate([[0], ends[last]]), (ends - lengths[:, 1])[is_odd]


def _spaced(text: str) -> str:
    """Return the text with other common white space as spaces: to BERT they are the same."""
    return text.replace("\n", " ").replace("\t", " ").replace("\r", " ")


def _odd_words(text: str) -> list[tuple[int, int]] | None:
    """Return begin and end of each word that holds more than printable ASCII; None to leave the text alone.

    A control character joins or parts words by rules of its own.
    """
    if text.isascii():
        return [] if text.isprintable() else None
    points = code_points(text)
    odd = np.flatnonzero((points < 0x20) | (points > 0x7E))
    if (points[odd] < 0xA0).any():
        return None
    words, last = [], 0
    for at in odd.tolist():
        if at >= last:
            last = text.find(" ", at)
            last = len(text) if last < 0 else last
            words.append((text.rfind(" ", 0, at) + 1, last))
    return words
