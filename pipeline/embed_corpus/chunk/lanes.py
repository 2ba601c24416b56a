"""Fast lanes: libraries that give the same ids as Hugging Face's, without spans, far faster.

Spans follow from the lengths of the tokens, so a lane takes only texts that its tokens cover
without a gap; it names those it did not take. Which lane a tokenizer may have is a matter of its
parts (`open_lane`); whether it is right is for the caller to prove.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from tokenizers import pre_tokenizers

from embed_corpus.chunk.slow import SAFE_CUT
from embed_corpus.chunk.tokens import Encoded, KnownWords, LaneDiffersError, Tokens, described
from embed_corpus.chunk.wordpiece import PieceLane

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from embed_corpus.chunk.slow import SlowLane

__all__ = ["ByteLane", "Lane", "open_lane"]


_KNOWN_WORDS = [
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
    + numbers
    + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    for numbers in (r"\p{N}", r"\p{N}{1,3}")
]
"""Patterns of Qwen and of Llama 3. Like GPT-2's, they let no letter, digit or mark be followed by a space within a
word, nor a letter or digit by a mark, and what follows such a place does not depend on what is before it."""

_CUT_BEHIND_WORDS = re.compile(r"(?<=[^\W_])[ .,;:!?)。、，；：！？）]|(?<=[.,;:!?)]) ")  # noqa: RUF001
"""Where the known patterns end a word: there are more such places than `SAFE_CUT` has, also in Chinese."""


_REMEMBERED = 1 << 15
_LONGEST_REMEMBERED = 32
"""Characters of a stretch that may come again."""


class Lane(Protocol):
    """A faster way to a text's tokens."""

    name: str

    def encode(self, texts: Sequence[str]) -> tuple[Encoded, NDArray[np.bool_]]:
        """Tokenise texts.

        Returns:
            The tokens, and bool[n], whether the lane took the text; the tokens of one that it did
            not take mean nothing.
        """
        ...


def open_lane(file: Path, slow: SlowLane) -> Lane | None:
    """Return the fast lane for a tokenizer.json; None if there is none, or its package is not installed."""
    content = slow.tokenizer.to_str()
    spec = json.loads(content)
    added = [token["content"] for token in spec["added_tokens"]]
    if not all(text.isascii() and text.isprintable() for text in added):
        return None  # then its normalised form would have to be looked for as well
    try:
        if _is_byte_bpe(spec):
            import fastokens

            return ByteLane(fastokens.Tokenizer.from_json_str(content), spec, slow)
        if _is_bert(spec):
            import tokie

            return PieceLane(tokie.Tokenizer.from_json(str(file)), spec, finder(added), slow)
    except Exception:  # noqa: BLE001  # not installed, or it cannot read this one: either way there is no lane
        return None
    return None


def _is_byte_bpe(spec: dict[str, Any]) -> bool:
    """Whether the tokens' bytes laid end to end are the text's, in NFC."""
    model, steps = spec["model"], spec["pre_tokenizer"] or {}
    steps = steps.get("pretokenizers", [steps])
    return (
        model["type"] == "BPE"
        and not any(
            model.get(k) for k in ("dropout", "byte_fallback", "continuing_subword_prefix", "end_of_word_suffix")
        )
        and (spec["normalizer"] or {"type": "NFC"})["type"] == "NFC"
        and [step["type"] for step in steps[:-1]] == ["Split"] * (len(steps) - 1)
        and steps[-1].get("type") == "ByteLevel"
        and not steps[-1]["add_prefix_space"]
        and set(pre_tokenizers.ByteLevel.alphabet()) <= model["vocab"].keys()
    )


def _is_bert(spec: dict[str, Any]) -> bool:
    """Whether words end at white space, and tokens cover a printable ASCII text but for its spaces."""
    kinds = [(spec[part] or {}).get("type") for part in ("model", "normalizer", "pre_tokenizer")]
    plain = not any(token["normalized"] or " " in token["content"] for token in spec["added_tokens"])
    return plain and kinds == ["WordPiece", "BertNormalizer", "BertPreTokenizer"]


def _has_known_words(pre_tokenizer: dict[str, Any]) -> bool:
    """Whether a byte-level tokenizer's words are GPT-2's, Llama 3's or Qwen's."""
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    splits = [(step["pattern"].get("Regex"), step["behavior"], step["invert"]) for step in steps[:-1]]
    by_itself = steps[-1]["use_regex"]
    return (by_itself and not splits) or (not by_itself and splits in [[(p, "Isolated", False)] for p in _KNOWN_WORDS])


def finder(contents: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern that finds any of these strings; it finds nothing if there are none."""
    by_first = defaultdict(list)
    for content in filter(None, contents):
        by_first[content[0]].append(re.escape(content[1:]))
    # A pattern that begins with a plain character is searched for at the speed of memory.
    return re.compile("|".join(f"{re.escape(c)}(?:{'|'.join(rest)})" for c, rest in by_first.items()) or r"(?!)")


class _Looked(NamedTuple):
    """Tokens of the slow lane: ids and starts as bytes of int32 and int64, which compare fastest; edges of words."""

    ids: bytes
    starts: bytes
    edges: NDArray[np.int64]


class ByteLane:
    """fastokens, for byte-level BPE.

    A token's characters follow from its number of bytes, where normalisation leaves the text as
    it is and no added token is in it.
    """

    name = "fastokens"

    def __init__(self, tokenizer: Any, spec: dict[str, Any], slow: SlowLane) -> None:
        self._tokenizer = tokenizer
        self._slow = slow
        self._known = lru_cache(_REMEMBERED)(self._tokenise)
        self._safe = _CUT_BEHIND_WORDS if _has_known_words(spec["pre_tokenizer"]) else SAFE_CUT
        self._added = finder([token["content"] for token in spec["added_tokens"]])
        self._nfc = spec["normalizer"] is not None
        vocabulary = spec["model"]["vocab"]
        ids = [*vocabulary.values(), *(token["id"] for token in spec["added_tokens"])]
        self._bytes = np.zeros(max(ids) + 1, np.int32)  # the byte alphabet writes a byte as one character
        self._bytes[list(vocabulary.values())] = list(map(len, vocabulary))

    def encode(self, texts: Sequence[str]) -> tuple[Encoded, NDArray[np.bool_]]:
        """Tokenise texts; see `Lane`."""
        asked = [text if self._takes(text) else "" for text in texts]
        raw, offsets = self._tokenizer.encode_batch_flat(asked, add_special_tokens=False)
        ids, edges = np.frombuffer(raw, np.int32), np.frombuffer(offsets, np.int64)
        ends = np.concatenate([[0], np.cumsum(self._bytes[ids], dtype=np.int64)])[edges]
        taken = np.diff(ends) == [len(t) if t.isascii() else len(t.encode()) for t in texts]
        return Encoded(texts, ids, edges, lambda i: self._tokens(texts[i], ids[edges[i] : edges[i + 1]])), taken

    def _takes(self, text: str) -> bool:
        normal = not self._nfc or text.isascii() or unicodedata.is_normalized("NFC", text)
        return normal and not self._added.search(text)

    def _tokens(self, text: str, ids: NDArray[np.int32]) -> Tokens:
        n_bytes = self._bytes[ids]
        starts = np.cumsum(n_bytes, dtype=np.int64) - n_bytes
        char_edge = np.ones(len(ids), bool)
        if not text.isascii():
            leads = (np.frombuffer(text.encode(), np.uint8) & 0xC0) != 0x80
            char_edge = leads[starts]
            starts = (np.cumsum(leads) - 1)[starts]
        return Tokens(starts, char_edge, _LazyWords(text, ids, starts, self._safe, self._look_up))

    def _look_up(self, text: str) -> _Looked:
        return self._known(text) if len(text) <= _LONGEST_REMEMBERED else self._tokenise(text)

    def _tokenise(self, text: str) -> _Looked:
        encoded = self._slow.encode([text])
        tokens = encoded.tokens(0)
        assert isinstance(tokens.words, KnownWords)
        return _Looked(encoded.ids.tobytes(), tokens.starts.tobytes(), tokens.words.edges)


class _LazyWords:
    """Word edges of byte-level BPE, found where they are asked for.

    Every safe place is one. Those between two safe places come from the slow lane, which is given
    the few characters between them; its tokens are compared with ours on the way.
    """

    def __init__(
        self,
        text: str,
        ids: NDArray[np.int32],
        starts: NDArray[np.int64],
        safe: re.Pattern[str],
        look_up: Callable[[str], _Looked],
    ) -> None:
        self._text = text
        self._ids = ids
        self._starts = starts
        self._safe = safe
        self._look_up = look_up
        self._begin = self._end = 0
        self._edges = np.empty(0, np.int64)

    def before(self, at: int) -> int:
        """Return the last word edge at or before token `at`."""
        return at if self._evident(at) else int(self._edges[self._edges.searchsorted(at, "right") - 1])

    def after(self, at: int) -> int:
        """Return the first word edge at or after token `at`."""
        return at if self._evident(at) else int(self._edges[self._edges.searchsorted(at)])

    def _evident(self, at: int) -> bool:
        """Whether a word begins at a token without asking; if not, the edges around it are in `_edges` afterwards."""
        if at in (0, len(self._ids)):
            return True
        if self._begin <= at < self._end:
            return False
        char = int(self._starts[at])
        if self._safe.match(self._text, char) and self._starts[at - 1] < char:
            return True
        first, found = self._last_safe(char), self._safe.search(self._text, char + 1)
        last = found.start() if found else len(self._text)
        begin, end = self._starts.searchsorted([first, last]).tolist()
        slow = self._look_up(self._text[first:last])
        if slow.ids != self._ids[begin:end].tobytes() or slow.starts != (self._starts[begin:end] - first).tobytes():
            raise LaneDiffersError(f"other tokens of {described(self._text)}, characters {first} to {last}")
        self._begin, self._end, self._edges = begin, end, slow.edges + begin
        return False

    def _last_safe(self, char: int) -> int:
        """Return the last safe place before a character, 0 if there is none."""
        first, size = 0, 64
        while True:
            for match in self._safe.finditer(self._text, max(0, char - size), char):
                first = match.start()
            if first or size >= char:
                return first
            size *= 4
