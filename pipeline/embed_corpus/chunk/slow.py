"""The slow lane: Hugging Face's tokenizers, which every other lane has to equal."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.chunk.rules import spec_of
from embed_corpus.chunk.tokens import Encoded, KnownWords, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

__all__ = ["SAFE_CUT", "SlowLane", "code_points", "loses_place", "marked"]

SAFE_CUT = re.compile(r"(?<=[^\W_]) (?=[^\W_])")
"""A single space between two letters or digits: no pre-tokenizer looks across it.

The cut falls before the space, because byte-level and SentencePiece tokenizers join a space
to the word that follows.
"""

_LOOKED_PAST = re.compile(r"\s\s(?=\S)")
"""White space whose splitting depends on what follows: GPT-2's and Qwen's patterns hold `\\s+(?!\\S)`,
so the same white space at the end of a text would be one word, not two."""
_LINES_APART = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_LOOKED_PAST_IN_LINES = re.compile(r"[^\S\r\n][^\S\r\n](?=\S)")
"""Qwen's and Llama 3's patterns, which end like this, split white space at its last line break whatever follows."""


_SPACED = re.compile(r"(?<=\S) (?=\S)")
"""Where a word ends for tokenizers that know no words: a token begins at a space, as SentencePiece has them."""
_SPACE = re.compile(" ")
"""Where words may end for tokenizers that put a space before a text that begins with none: a window there is told
from the text's own beginning by it."""
_ACROSS_SPACED = re.compile(r"[^\s▁Ġ][ ▁Ġ]")
_ACROSS_SAFE = re.compile(r"[^\W_Ġ][ ▁Ġ]")
"""Tokens that reach across such a place, or a safe cut: if there is none, merges and scores on one side of it do
not depend on the other."""


def loses_place(tokenizer: Tokenizer) -> bool:
    """Tell whether a tokenizer drops spaces and counts on as if they had not been there.

    So does BPE that has no unknown token and gets its texts whole, without a pre-tokenizer: from the first space on,
    every token's place in the text is wrong.
    """
    model = tokenizer.model
    if type(model).__name__ != "BPE" or model.unk_token or model.byte_fallback or tokenizer.pre_tokenizer:
        return False
    letter = next((token for token in tokenizer.get_vocab() if len(token) == 1 and "a" <= token <= "z"), "a")
    text = f"{letter} {letter}"
    tokens = tokenizer.encode(text, add_special_tokens=False)
    return bool(tokens.offsets) and tokens.offsets[-1][1] < len(text)


class SlowLane:
    """Tokenises with a `tokenizers.Tokenizer` without truncation, padding and post-processing.

    Attributes:
        has_safe_cuts: tokens on one side of a `SAFE_CUT` do not depend on the other.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.has_safe_cuts = True
        self._edges: re.Pattern[str] | None = None
        before = json.dumps(spec_of(tokenizer.pre_tokenizer))
        self._looked_past = _LOOKED_PAST_IN_LINES if json.dumps(_LINES_APART)[1:-1] + '"' in before else _LOOKED_PAST
        self._only = _SPACE if '"add_prefix_space": true' in before else None
        if not _splits(tokenizer):
            self.has_safe_cuts = not any(map(_ACROSS_SAFE.search, tokenizer.get_vocab()))
            loose = any(map(_ACROSS_SPACED.search, tokenizer.get_vocab()))
            self._edges = SAFE_CUT if loose else _SPACED
        added = tokenizer.get_added_tokens_decoder().values()
        self.has_safe_cuts &= not any(SAFE_CUT.search(token.content) for token in added)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Tokenise texts; the library holds some 150 bytes per character until the result is dropped."""
        if len(texts) == 1:  # a batch of one would wait for another thread
            encodings = [self.tokenizer.encode(texts[0], add_special_tokens=False)]
        else:
            encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False) if texts else []
        ids = [np.array(e.ids, np.int32) for e in encodings]
        edges = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        flat = np.concatenate([np.empty(0, np.int32), *ids])
        return Encoded(texts, flat, edges, lambda i: self._tokens(texts[i], encodings[i]))

    def _tokens(self, text: str, encoding: Encoding) -> Tokens:
        offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
        starts = offsets[:, 0]
        # A token of the added vocabulary belongs to no word (None, here NaN): it is one of its own.
        words = np.array(encoding.word_ids, np.float64)
        char_edge, word_edge = np.ones(len(starts), bool), np.ones(len(starts), bool)
        char_edge[1:] = offsets[:-1, 1] <= starts[1:]
        word_edge[1:] = char_edge[1:] & (words[1:] != words[:-1])
        if self._edges is not None:
            word_edge[1:] |= char_edge[1:] & _found(self._edges, text)[starts[1:]]
        if self._only is not None:
            word_edge[1:] &= _found(self._only, text)[starts[1:]]
        places = [m.end() for m in self._looked_past.finditer(text)]
        if places:
            behind = np.zeros(len(text) + 1, bool)
            behind[places] = True
            word_edge[1:] &= ~(behind[starts[1:]] & (offsets[:-1, 1] == starts[1:]))
        if not text.isascii():
            word_edge &= ~marked(text)[starts]
        word_edge[:1] = True
        return Tokens(starts, char_edge, KnownWords(word_edge))


def _splits(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer takes words apart before it makes tokens of them."""
    text = "word word"
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    return tokenizer.pre_tokenizer is not None and len(tokenizer.pre_tokenizer.pre_tokenize_str(text)) > 1


def _found(pattern: re.Pattern[str], text: str) -> NDArray[np.bool_]:
    """Return bool[len(text) + 1], where a match begins."""
    begins = np.zeros(len(text) + 1, bool)
    begins[[match.start() for match in pattern.finditer(text)]] = True
    return begins


def code_points(text: str) -> NDArray[np.uint8] | NDArray[np.uint32]:
    """Return the text's code points, as uint8 if it is ASCII."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


def marked(text: str) -> NDArray[np.bool_]:
    """Return bool[len(text) + 1], where combining marks stand: normalisation may move one past the letter before it."""
    found = np.zeros(len(text) + 1, bool)
    points = code_points(text)
    combining = [c for c in np.unique(points[points > 0x2FF]).tolist() if unicodedata.combining(chr(c))]
    if combining:
        found[:-1] = np.isin(points, combining)
    return found
