"""The model's own tokenizer, giving flat arrays: ids, and where the tokens of long texts lie."""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer

from embed_corpus.chunk.lanes import open_lane
from embed_corpus.chunk.rules import apply_rules, inner_tokenizer, spec_of
from embed_corpus.chunk.slow import SAFE_CUT, SlowLane, loses_place
from embed_corpus.chunk.tokens import Encoded, LaneDiffersError, Tokens, described, join, stretches
from embed_corpus.errors import ModelError
from embed_corpus.model.settings import tokenizer_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from embed_corpus.chunk.lanes import Lane
    from embed_corpus.chunk.utf8 import LongText
    from embed_corpus.model.facts import ModelFacts

__all__ = ["SLOW", "WordTokenizer", "batches", "is_long", "tokenizer_of"]

_log = logging.getLogger("embed_corpus")

SLOW = "tokenizers"
"""Name of Hugging Face's own library."""

_SLAB_CHARS = 256 << 10
"""Characters tokenised in one call; the slow lane holds some 150 bytes per character."""

_CHECKED = 1000
"""One text in so many is tokenised by both lanes; which ones depends on the texts alone."""

_PROVEN_CHARS = 4 << 10
"""Characters of a text on which a lane is proven: a sample of books shall not take minutes."""

_PROBED = 32
"""When lanes are compared, word edges are asked for at every so many tokens, as windows do."""


class WordTokenizer:
    """A `tokenizer.json` with truncation, padding and post-processing taken out.

    Special tokens are put around the chunks by us, so their places are read off the
    post-processor once, as `prefix` and `suffix` (int32).

    A `bare` one has no special tokens, and goes by nothing but the file: so a StaticEmbedding module has it.
    It uses Hugging Face's tokenizers until `prove` found a faster lane right; `fast=False` is to stay there.
    `added` has the tokens that are whole wherever they stand, with their ids; `cut_at` is the side on which
    the model's files want a text cut that is too long.
    `unknown_ids` (int32) are the tokens that stand for what the vocabulary lacks, and for white space alone; there
    are none where every text has tokens of its own (byte-level). `differs` says what was wrong with that lane, if
    anything was found after its proof.
    """

    def __init__(self, folder: Path, *, fast: bool = True, bare: bool = False) -> None:
        file = folder / "tokenizer.json"
        # An encode call holds the interpreter for short texts; its own threads end with the process.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        try:
            self._tokenizer = Tokenizer.from_str(file.read_text(encoding="utf8"))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"{file} is no usable tokenizer: {error}") from error
        cut_at = (self._tokenizer.truncation or {}).get("direction", "right")
        self.unknown_ids = _unknown_ids(self._tokenizer, file)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if loses_place(self._tokenizer):
            raise ModelError(
                f"{file} drops spaces and has neither a pre_tokenizer nor an unknown token: the places of its tokens "
                "in a text, where chunks end, would be wrong. Write back the pre_tokenizer it was trained with."
            )
        nothing = np.zeros(0, np.int32)
        self.prefix, self.suffix = (nothing, nothing) if bare else self._special_tokens()
        self._tokenizer.post_processor = None  # it would also trim leading spaces off the offsets
        changed = not bare and apply_rules(self._tokenizer, folder)
        self.cut_at = cut_at if bare else str(tokenizer_settings(folder).get("truncation_side", cut_at))
        self.added = {token.content: id_ for id_, token in self._tokenizer.get_added_tokens_decoder().items()}
        self._slow = SlowLane(self._tokenizer)
        inner = inner_tokenizer(self._tokenizer)
        self._inner = self._slow if inner is self._tokenizer else SlowLane(inner)
        self.differs = ""
        self._lane: Lane | None = None
        self._file = file if fast and not changed else None  # a lane reads the file

    def _special_tokens(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        sample = self._tokenizer.encode("word")
        ids, text = np.array(sample.ids, np.int32), np.flatnonzero(np.array(sample.special_tokens_mask) == 0)
        if not len(text):
            raise ModelError("the tokenizer gives no token for 'word'")
        return ids[: text[0]], ids[text[-1] + 1 :]

    def whole(self, text: str) -> list[int]:
        """Return the ids of a text that is one chunk, special tokens included."""
        ids = [part.ids for part in self.encode([text])]
        return [*self.prefix.tolist(), *np.concatenate(ids).tolist(), *self.suffix.tolist()]

    def from_id(self, first: int) -> list[tuple[str, int]]:
        """Return the tokens with that id and larger ones, smallest first."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        return sorted(((token, id_) for token, id_ in vocabulary.items() if id_ >= first), key=lambda pair: pair[1])

    @property
    def kind(self) -> str:
        """What kind of tokenizer it is, for people."""
        name = type(self._tokenizer.model).__name__
        before = json.dumps(spec_of(self._tokenizer.pre_tokenizer))
        return f"byte-level {name}" if '"ByteLevel"' in before else name

    def prove(self, texts: Sequence[str]) -> str:
        """Use a fast lane from now on if there is one and it gives the slow lane's tokens for these texts.

        Give it the first 1,000 documents of the corpus or more; Hugging Face tokenises the beginning of each, too.

        Returns:
            The name of the lane in use.
        """
        lane = self._lane or (open_lane(self._file, self._slow) if self._file else None)
        if lane:
            try:
                for batch in batches(texts):
                    self._compare(lane, [text[:_PROVEN_CHARS] for text in batch])
            except Exception as error:  # noqa: BLE001  # whatever ails it, it is not used
                self._distrust(lane, error)
            else:
                self._lane = lane
        return self.lane

    @property
    def lane(self) -> str:
        """Name of the library that tokenises."""
        return self._lane.name if self._lane else SLOW

    def distrust(self, why: Exception) -> None:
        """Give up the fast lane for as long as this process lives, and say so."""
        if self._lane:
            self.differs = f"{self._lane.name} does not tokenise as Hugging Face does: {why}"
            self._distrust(self._lane, why)

    def _distrust(self, lane: Lane, why: Exception) -> None:
        _log.warning("%s does not tokenise as Hugging Face does, and is not used: %s", lane.name, why)
        self._lane = self._file = None

    def _compare(self, lane: Lane, texts: list[str]) -> None:
        """Raise LaneDiffersError if the lane gives one of the texts other tokens than the slow lane."""
        fast, taken = lane.encode(texts)
        slow = self._slow.encode(texts)
        for i in np.flatnonzero(taken).tolist():
            if not _same(fast, slow, i):
                raise LaneDiffersError(f"other tokens of {described(texts[i])}")

    def encode(self, texts: Sequence[str], enough: int | None = None) -> Iterator[Encoded]:
        """Tokenise texts, a bounded number of characters a call; consecutive texts come together.

        With `enough`, tokenising a text may stop once it gave more than that many tokens.
        """
        for batch in batches(texts):
            yield self._encode_long(batch[0], enough) if is_long(batch[0]) else self._encode(batch)

    def _encode(self, texts: list[str]) -> Encoded:
        if self._lane:
            try:
                return self._encode_fast(self._lane, texts)
            except Exception as error:  # noqa: BLE001  # whatever ails it, the slow lane is there
                self.distrust(error)
        return self._slow.encode(texts)

    def _encode_fast(self, lane: Lane, texts: list[str]) -> Encoded:
        checked = [text for text in texts if zlib.crc32(text.encode()) % _CHECKED == 0]
        if checked:
            self._compare(lane, checked)
        fast, taken = lane.encode(texts)
        if taken.all():
            return fast
        left = np.flatnonzero(~taken)
        slow = self._slow.encode([texts[i] for i in left.tolist()])
        begins, lengths = fast.edges[:-1].copy(), np.diff(fast.edges)
        begins[left], lengths[left] = len(fast.ids) + slow.edges[:-1], np.diff(slow.edges)
        ids = np.concatenate([fast.ids, slow.ids])[stretches(begins, lengths)]

        def tokens(i: int) -> Tokens:
            return fast.tokens(i) if taken[i] else slow.tokens(int(np.searchsorted(left, i)))

        return Encoded(texts, ids, np.concatenate([[0], np.cumsum(lengths)]), tokens)

    def slabs(self, text: str | LongText) -> Iterator[tuple[Encoded, bool]]:
        """Tokenise a text piece by piece; with each piece comes whether it is the last."""
        begin = 0
        for end in _slab_ends(text) if self._slow.has_safe_cuts else [len(text)]:
            piece = [text[begin:end]]
            slab = self._inner.encode(piece) if begin and self._inner is not self._slow else self._encode(piece)
            tokens = {0: slab.tokens(0)}  # now, so that the library's own result can go
            yield Encoded(slab.texts, slab.ids, slab.edges, tokens.__getitem__), end == len(text)
            begin = end

    def _encode_long(self, text: str, enough: int | None) -> Encoded:
        slabs: list[Encoded] = []
        for slab, _ in self.slabs(text):
            slabs.append(slab)
            if enough is not None and sum(len(s.ids) for s in slabs) > enough:
                break
        ids = np.concatenate([slab.ids for slab in slabs])
        return Encoded([text], ids, np.array([0, len(ids)]), lambda _: join([(s.texts[0], s.tokens(0)) for s in slabs]))


def tokenizer_of(facts: ModelFacts) -> WordTokenizer:
    """Open a model's tokenizer.

    Raises:
        ModelError: it cannot be read.
    """
    return WordTokenizer(facts.transformer, bare=facts.table is not None)


def _unknown_ids(tokenizer: Tokenizer, file: Path) -> NDArray[np.int32]:
    unknown = getattr(tokenizer.model, "unk_token", None)
    number = None if unknown is None else tokenizer.token_to_id(unknown)
    if type(tokenizer.model).__name__ == "Unigram":  # it tells its unknown token nowhere but in the file
        found = re.search(r'"unk_id"\s*:\s*(\d+)', file.read_text(encoding="utf8"))
        number = int(found[1]) if found else None
    if number is None:
        return np.empty(0, np.int32)
    blank = tokenizer.token_to_id("\u2581")
    return np.array([number] if blank is None else [number, blank], np.int32)


def is_long(text: str) -> bool:
    """Whether a text comes in slabs."""
    return len(text) > _SLAB_CHARS


def _same(a: Encoded, b: Encoded, i: int) -> bool:
    """Whether two lanes agree on a text: ids, places and, here and there, word edges."""
    ids = a.ids[a.edges[i] : a.edges[i + 1]]
    if not np.array_equal(ids, b.ids[b.edges[i] : b.edges[i + 1]]):
        return False
    ours, theirs = a.tokens(i), b.tokens(i)
    return (
        np.array_equal(ours.starts, theirs.starts)
        and np.array_equal(ours.char_edge, theirs.char_edge)
        and all(ours.words.before(at) == theirs.words.before(at) for at in range(0, len(ids), _PROBED))
    )


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Group consecutive texts of a slab's size together; a larger text is alone."""
    waiting: list[str] = []
    size = 0
    for text in texts:
        if waiting and size + len(text) > _SLAB_CHARS:
            yield waiting
            waiting, size = [], 0
        waiting.append(text)
        size += len(text)
    if waiting:
        yield waiting


def _slab_ends(text: str | LongText, size: int | None = None) -> Iterator[int]:
    """Yield where slabs of about `size` characters end; every cut but a forced one is a safe one.

    Where four slabs in a row hold no safe place (no letter beside a space: no natural
    text), the cut is forced, and the ids around it may differ from those of the whole text.
    """
    size = size or _SLAB_CHARS
    begin, n = 0, len(text)
    while n - begin > size:
        slab, found = text[begin : begin + size], None
        for first in (size - size // 32, size // 2):
            for found in SAFE_CUT.finditer(slab, first):  # noqa: B007  # the last one
                pass
            if found:
                break
        behind = begin + size - 1  # with the character before the place looked for
        if found:
            begin += found.start()
        elif found := SAFE_CUT.search(text[behind : begin + 4 * size], 1):
            begin = behind + found.start()
        else:
            begin = min(begin + 4 * size, n)
        yield begin
    if begin < n or not n:
        yield n
