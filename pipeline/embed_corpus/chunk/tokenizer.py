"""The model's own tokenizer, giving flat arrays: ids, character offsets, word boundaries."""

from __future__ import annotations

import os
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from embed_corpus.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Tokens", "WordTokenizer"]

_SLAB_CHARS = 256 << 10
"""Characters tokenised in one call; a call holds some 150 bytes per character."""

_SAFE_CUT = re.compile(r"(?<=[^\W_]) (?=[^\W_])")
"""A single space between two letters or digits: no pre-tokenizer looks across it.

The cut falls before the space, because byte-level and SentencePiece tokenizers join a space
to the word that follows.
"""

_LOOKED_PAST = re.compile(r"\s\s(?=\S)")
"""White space whose splitting depends on what follows: GPT-2's and Qwen's patterns hold `\\s+(?!\\S)`,
so the same white space at the end of a text would be one word, not two."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text's tokens, without special tokens.

    Attributes:
        ids: int32[n].
        starts: int64[n], first character of each token, in code points.
        char_edge: bool[n], no character is shared with the token before.
        word_edge: bool[n], a word begins here (and `char_edge` holds).
        complete: False if tokenising stopped early, as it was asked to.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    char_edge: NDArray[np.bool_]
    word_edge: NDArray[np.bool_]
    complete: bool = True


class WordTokenizer:
    """A `tokenizer.json` with truncation, padding and post-processing taken out.

    Special tokens are put around the chunks by us, so their places are read off the
    post-processor once, as `prefix` and `suffix` (int32).
    """

    def __init__(self, folder: Path) -> None:
        file = folder / "tokenizer.json"
        # An encode call holds the interpreter for short texts; its own threads end with the process.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        try:
            self._tokenizer = Tokenizer.from_str(file.read_text(encoding="utf8"))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{file} is no usable tokenizer: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.prefix, self.suffix = self._special_tokens()
        self._tokenizer.post_processor = None  # it would also trim leading spaces off the offsets

    def _special_tokens(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        sample = self._tokenizer.encode("word")
        ids, text = np.array(sample.ids, np.int32), np.flatnonzero(np.array(sample.special_tokens_mask) == 0)
        if not len(text):
            raise ModelError("the tokenizer gives no token for 'word'")
        return ids[: text[0]], ids[text[-1] + 1 :]

    def ids(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """Tokenise whole texts, without special tokens; int32 ids of each."""
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [np.array(e.ids, np.int32) for e in encodings]

    def encode(self, texts: Sequence[str], enough: int | None = None) -> Iterator[Tokens]:
        """Tokenise texts, a bounded number of characters a call.

        With `enough`, tokenising a text may stop once it gave more than that many tokens.
        """
        waiting: list[str] = []
        size = 0
        for text in texts:
            if len(text) > _SLAB_CHARS:
                yield from self._encode_short(waiting)
                yield self._encode_long(text, enough)
                waiting, size = [], 0
                continue
            if size + len(text) > _SLAB_CHARS:
                yield from self._encode_short(waiting)
                waiting, size = [], 0
            waiting.append(text)
            size += len(text)
        yield from self._encode_short(waiting)

    def _encode_short(self, texts: list[str]) -> Iterator[Tokens]:
        encodings = self._tokenizer.encode_batch(texts, add_special_tokens=False) if texts else []
        for text, encoding in zip(texts, encodings, strict=True):
            ids = np.array(encoding.ids, np.int32)
            offsets = np.array(encoding.offsets, np.int64).reshape(-1, 2)
            # A token of the added vocabulary belongs to no word: it is one of its own.
            words = np.array([-1 if w is None else w for w in encoding.word_ids], np.int64)
            char_edge, word_edge = np.ones(len(ids), bool), np.ones(len(ids), bool)
            char_edge[1:] = offsets[:-1, 1] <= offsets[1:, 0]
            word_edge[1:] = char_edge[1:] & ((words[1:] != words[:-1]) | (words[1:] == -1))
            touching = np.append(False, offsets[:-1, 1] == offsets[1:, 0])
            word_edge &= ~(touching & np.isin(offsets[:, 0], [m.end() for m in _LOOKED_PAST.finditer(text)]))
            word_edge &= ~np.isin(offsets[:, 0], _marks(text))
            word_edge[:1] = True
            yield Tokens(ids, offsets[:, 0], char_edge, word_edge)

    def _encode_long(self, text: str, enough: int | None) -> Tokens:
        slabs: list[Tokens] = []
        n_tokens = begin = 0
        for end in _slab_ends(text):
            (slab,) = self._encode_short([text[begin:end]])
            slabs.append(Tokens(slab.ids, slab.starts + begin, slab.char_edge, slab.word_edge))
            begin, n_tokens = end, n_tokens + len(slab.ids)
            if enough is not None and n_tokens > enough:
                break
        return Tokens(
            np.concatenate([s.ids for s in slabs]),
            np.concatenate([s.starts for s in slabs]),
            np.concatenate([s.char_edge for s in slabs]),
            np.concatenate([s.word_edge for s in slabs]),
            complete=begin == len(text),
        )


def _marks(text: str) -> list[int]:
    """Return where combining marks stand: normalisation may move one past the letter before it."""
    return [] if text.isascii() else [i for i, c in enumerate(text) if c > "\u02ff" and unicodedata.combining(c)]


def _slab_ends(text: str, size: int | None = None) -> Iterator[int]:
    """Yield where slabs of about `size` characters end; every cut but a forced one is a safe one.

    Where four slabs in a row hold no safe place (no letter beside a space: no natural
    text), the cut is forced, and the ids around it may differ from those of the whole text.
    """
    size = size or _SLAB_CHARS
    begin = 0
    while len(text) - begin > size:
        near = None
        for near in _SAFE_CUT.finditer(text, begin + size // 2, begin + size):  # noqa: B007  # the last one
            pass
        far = near or _SAFE_CUT.search(text, begin + size, begin + 4 * size)
        begin = far.start() if far else min(begin + 4 * size, len(text))
        yield begin
    if begin < len(text) or not text:
        yield len(text)
