"""Chunking: every character in a chunk, no chunk over the limit, and a chunk's text gives its ids again."""

from __future__ import annotations

import itertools
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from embed_corpus.chunk import tokenizer as tokenizer_module
from embed_corpus.chunk import windows as windows_module
from embed_corpus.chunk.cut import windows
from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.tokens import Encoded, JoinedWords, KnownWords, Tokens
from embed_corpus.chunk.windows import Chunker
from embed_corpus.errors import ModelError, UsageError
from kit.chunk_checks import Kind, ids_of, spans
from kit.free_text import DOCUMENTS

PROPERTY = settings(max_examples=100, deadline=None)
PROMPTS = ["query: ", "query:"]

LIMITS = st.integers(24, 64)
"""From 24 on: no character of DOCUMENTS alone has more tokens than that."""


def places(encoded: Encoded, i: int = 0) -> list[list[int]]:
    """A text's tokens: where they start, which share no character with the one before, which begin a word."""
    tokens = encoded.tokens(i)
    return [tokens.starts.tolist(), tokens.char_edge.tolist(), [tokens.words.before(at) for at in range(len(tokens))]]


@given(text=DOCUMENTS, limit=LIMITS)
@PROPERTY
def test_cover(kind: Kind, text: str, limit: int) -> None:
    """Without overlap the spans lie end to end from the first character to the last."""
    chunks = Chunker(kind.words, limit)([text])
    edges = [0, *chunks.end.tolist()]
    assert chunks.start.tolist() == edges[:-1]
    assert edges[-1] == len(text)
    assert chunks.index.tolist() == list(range(len(chunks)))
    assert edges == sorted(edges)


@given(text=DOCUMENTS, limit=LIMITS)
@PROPERTY
def test_limit(kind: Kind, text: str, limit: int) -> None:
    """No chunk has more tokens than the limit, special ones counted, and together they hold all tokens."""
    chunks = Chunker(kind.words, limit)([text])
    special, n_tokens = len(kind.ids("")), len(kind.whole.encode(text, add_special_tokens=False))
    assert chunks.n_tokens.max() <= limit
    assert chunks.n_tokens.sum() == len(chunks.input_ids) == n_tokens + special * len(chunks)
    assert len(chunks) == 1 or n_tokens + special > limit


@given(text=DOCUMENTS, limit=LIMITS, overlap=st.integers(0, 20))
@PROPERTY
def test_span_gives_ids_again(kind: Kind, text: str, limit: int, overlap: int) -> None:
    """A chunk's text, tokenised anew with special tokens, gives the chunk's ids, unless words were cut."""
    chunks = Chunker(kind.words, limit, overlap)([text])
    assume(not chunks.cut_words)
    assert ids_of(chunks) == [kind.ids(span) for span in spans(chunks, text)]


@pytest.mark.parametrize("text", ["flow  1 ", "A\u030a\u0323 "], ids=["spaces", "marks"])
def test_span_gives_ids_again_behind(kind: Kind, text: str) -> None:
    """So it does where the tokenizer looks past a word's end: white space before a word, marks out of order."""
    for limit in range(24, 40):
        chunks = Chunker(kind.words, limit)([text * 40])
        assert chunks.cut_words == 0
        assert ids_of(chunks) == [kind.ids(span) for span in spans(chunks, text * 40)]


def test_span_gives_ids_again_behind_paragraphs(tmp_path: Path, texts: list[str]) -> None:
    """So it does for GPT-2's and RoBERTa's tokenizer, which gives a blank line two words before a letter, else one."""
    tokenizer, text = Tokenizer(models.BPE()), "\n\n".join(t[:40] for t in texts)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text] + 1000 * ["\n\n"], trainer)
    gpt2 = Kind(tmp_path, tokenizer)
    chunks = Chunker(gpt2.words, 32)([text])
    assert ids_of(chunks) == [gpt2.ids(span) for span in spans(chunks, text)]


def test_span_gives_ids_again_on_pages(kind: Kind, texts: list[str], long_texts: list[str]) -> None:
    """On natural text hardly a word exceeds 64 tokens, and then all spans give their ids again."""
    chunker = Chunker(kind.words, 64)
    for text in texts[:60] + long_texts:
        chunks = chunker([text])
        assert chunks.cut_words == 0
        assert ids_of(chunks) == [kind.ids(span) for span in spans(chunks, text)]


@given(text=DOCUMENTS, limit=LIMITS, overlap=st.integers(1, 20))
@PROPERTY
def test_overlap(kind: Kind, text: str, limit: int, overlap: int) -> None:
    """Consecutive windows share at most `overlap` tokens, and each begins and ends later than the last."""
    (encoded,) = kind.words.encode([text])
    cut = [window[:2] for window in windows(encoded.tokens(0), Chunker(kind.words, limit, overlap).capacity, overlap)]
    for (begin, end), (next_begin, next_end) in itertools.pairwise(cut):
        assert end - overlap <= next_begin <= end
        assert begin < next_begin < next_end
        assert end < next_end
    assert (cut[0][0], cut[-1][1]) == (0, len(encoded.ids))


def test_overlap_is_used(kind: Kind, texts: list[str]) -> None:
    """With overlap, natural text is repeated, and the spans still leave no gap."""
    text = " ".join(texts[:5])
    chunks = Chunker(kind.words, 64, 20)([text])
    assert (chunks.start[1:] < chunks.end[:-1]).mean() > 0.9
    assert (chunks.start[0], chunks.end[-1]) == (0, len(text))


@given(text=DOCUMENTS, limit=LIMITS, overlap=st.integers(0, 20))
@PROPERTY
def test_truncate(kind: Kind, text: str, limit: int, overlap: int) -> None:
    """Truncating keeps the first chunk of splitting alone, and counts the documents that lost text."""
    split = Chunker(kind.words, limit, overlap)([text])
    first = Chunker(kind.words, limit, overlap, truncate=True)([text])
    assert len(first) == 1
    assert (first.start[0], first.end[0], first.content_hash[0].tobytes()) == (
        0,
        split.end[0],
        split.content_hash[0].tobytes(),
    )
    assert ids_of(first) == ids_of(split)[:1]
    assert (first.truncated, split.truncated) == (int(len(split) > 1), 0)


@given(documents=st.lists(DOCUMENTS, max_size=4), limit=LIMITS)
@PROPERTY
def test_documents(kind: Kind, documents: list[str], limit: int) -> None:
    """A block of documents gives each document's own chunks, in order, numbered by document."""
    chunker = Chunker(kind.words, limit)
    block, alone = chunker(documents), [chunker([text]) for text in documents]
    assert block.doc.tolist() == [doc for doc, chunks in enumerate(alone) for _ in range(len(chunks))]
    assert block.input_ids.tolist() == [i for chunks in alone for i in chunks.input_ids]
    assert block.start.tolist() == [a for chunks in alone for a in chunks.start]
    assert block.cut_words == sum(chunks.cut_words for chunks in alone)


@given(text=DOCUMENTS, limit=LIMITS)
@PROPERTY
def test_content_hash(kind: Kind, text: str, limit: int) -> None:
    """A chunk's hash is the blake2b-128 of its text in UTF-8."""
    chunks = Chunker(kind.words, limit)([text])
    hashes = [blake2b(s.encode(), digest_size=16).digest() for s in spans(chunks, text)]
    assert [row.tobytes() for row in chunks.content_hash] == hashes


@pytest.mark.parametrize("size", [200, 1000])
def test_slabs(kind: Kind, size: int, texts: list[str], long_texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text tokenised in slabs gives the tokens of the whole text in one call."""
    for text in (" ".join(texts[:40]), "\n".join(texts[40:80]), *long_texts[:6]):
        (whole,) = kind.words.encode([text])
        with monkeypatch.context() as patched:
            patched.setattr(tokenizer_module, "_SLAB_CHARS", size)
            assert len(list(tokenizer_module._slab_ends(text))) > len(text) / size / 4
            (slabs,) = kind.words.encode([text])
        assert slabs.ids.tolist() == whole.ids.tolist()
        assert places(slabs) == places(whole)


@pytest.mark.parametrize(("limit", "overlap"), [(16, 0), (64, 0), (64, 20), (500, 0), (500, 499 - 60)])
def test_chunks_of_a_text_in_slabs(
    kind: Kind, limit: int, overlap: int, texts: list[str], long_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long text cut while it is tokenised gives the chunks of the whole text, whatever their sizes."""
    many = [
        "  " * 800 + long_texts[0],
        " " * 3000,
        "a" * 3000 + long_texts[1],
        *long_texts[2:5],
        texts[0],
        " ".join(texts),
    ]
    chunker = Chunker(kind.words, limit, overlap)
    whole = chunker(many)
    monkeypatch.setattr(tokenizer_module, "_SLAB_CHARS", 1500)
    slabs = chunker(many)
    assert ids_of(slabs) == ids_of(whole)
    for field in fields(whole):
        np.testing.assert_array_equal(getattr(slabs, field.name), getattr(whole, field.name), err_msg=field.name)


@pytest.mark.parametrize(("limit", "overlap", "by"), [(16, 0, "tokens"), (64, 20, "sentences")])
def test_a_huge_text_comes_in_parts(
    kind: Kind, limit: int, overlap: int, by: str, long_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chunks of a huge text come some at a time, and are those of the text in one; other texts come at once."""
    chunker = Chunker(kind.words, limit, overlap, by=by)
    text = "Ä heading, ☃: " + " ".join(long_texts[:3])
    whole, short = chunker([text]), chunker(["short"])
    monkeypatch.setattr(windows_module, "HUGE", 10_000)
    monkeypatch.setattr(tokenizer_module, "_SLAB_CHARS", 1500)
    parts = list(chunker.parts(pa.array([text])))
    assert len(parts) > len(text) / 8000
    assert whole.passes is None
    for field in fields(whole):
        values = [getattr(part, field.name) for part in parts]
        if field.name == "passes":
            continue
        joined = np.concatenate(values) if isinstance(values[0], np.ndarray) else sum(values)
        np.testing.assert_array_equal(joined, getattr(whole, field.name), err_msg=field.name)
    (both,) = chunker.parts(pa.array([text, "short"]))
    assert ids_of(both) == [*ids_of(whole), *ids_of(short)]


@given(text=DOCUMENTS, size=st.integers(1, 40))
@PROPERTY
def test_slab_ends(text: str, size: int) -> None:
    """Slabs cover the text, none is empty or over four sizes, and only a full one ends at an unsafe place."""
    edges = [0, *tokenizer_module._slab_ends(text, size)]
    assert edges[-1] == len(text)
    for begin, end in itertools.pairwise(edges):
        assert 0 < end - begin <= 4 * size or not text
        safe = text[end : end + 1] == " " and text[end - 1].isalnum() and text[end + 1 : end + 2].isalnum()
        assert safe or end == len(text) or end - begin == 4 * size


def test_slabs_of_a_truncated_text(kind: Kind, long_texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Truncating stops tokenising a long text early, keeps the same chunk and counts the text."""
    split = Chunker(kind.words, 64)(long_texts[:1])
    monkeypatch.setattr(tokenizer_module, "_SLAB_CHARS", 400)
    (tokens,) = kind.words.encode(long_texts[:1], enough=64)
    assert 64 < len(tokens.ids) < 1000
    first = Chunker(kind.words, 64, truncate=True)(long_texts[:1])
    assert ids_of(first) == ids_of(split)[:1]
    assert (first.end[0], first.truncated) == (split.end[0], 1)


def test_short_and_long_texts_keep_their_order(kind: Kind, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts tokenised in several calls come back in order, long ones among short ones."""
    mixed = [texts[0][:50], texts[1], "", texts[2][:150], texts[3][:150], texts[4], texts[5][:60]]
    (whole,) = kind.words.encode(mixed)
    monkeypatch.setattr(tokenizer_module, "_SLAB_CHARS", 200)
    parts = list(kind.words.encode(mixed))
    assert [text for part in parts for text in part.texts] == mixed
    assert np.concatenate([part.ids for part in parts]).tolist() == whole.ids.tolist()


@pytest.mark.parametrize("prompt", PROMPTS)
@given(text=DOCUMENTS, limit=LIMITS)
@example(text="\u0301" + "the" * 18, limit=24)  # a text may begin with a mark
@PROPERTY
def test_prompt(kind: Kind, prompt: str, text: str, limit: int) -> None:
    """With a prompt a chunk's ids are those of prompt and text tokenised together, within the limit."""
    chunks = Chunker(kind.words, limit, prompt=prompt)([text])
    assert ids_of(chunks) == [kind.ids(prompt + span) for span in spans(chunks, text)]
    assert chunks.n_tokens.max() <= limit
    assert chunks.start.tolist() == [0, *chunks.end.tolist()[:-1]]
    assert chunks.end[-1] == len(text)


def test_no_room(kind: Kind) -> None:
    """A limit that leaves too little room beside special tokens, prompt or overlap names the flags to change."""
    special = len(kind.ids(""))
    for limit, overlap, prompt in [(special, 0, ""), (8 + special, 8, ""), (special + 2, 0, "query: query: query: ")]:
        with pytest.raises(UsageError, match=r"--chunk-tokens .*--chunk-overlap"):
            Chunker(kind.words, limit, overlap, prompt)
    assert Chunker(kind.words, special + 1).capacity == 1
    assert Chunker(kind.words, 9 + special, 8).capacity == 9


def test_special_tokens_are_counted(kind: Kind) -> None:
    """Prefix and suffix are what the tokenizer itself puts around a text."""
    assert [*kind.words.prefix, *kind.words.suffix] == kind.ids("")
    assert Chunker(kind.words, 30).special == len(kind.ids(""))


@pytest.mark.parametrize("content", ["{", "{}", '{"model": {"type": "None"}}'])
def test_unusable_tokenizer(content: str, tmp_path: Path) -> None:
    """A tokenizer.json that cannot be used is a model error that names the file."""
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json is no usable tokenizer"):
        WordTokenizer(tmp_path)


# --- windows, on tokens made by hand -----------------------------------------------------------


def tokens_of(*words: int, char_edge: dict[int, bool] | None = None) -> Tokens:
    """One-character tokens that form words of these lengths; `char_edge` overrides single tokens."""
    n = sum(words)
    char, word = np.ones(n, bool), np.zeros(n, bool)
    word[np.cumsum([0, *words])[:-1]] = True
    for at, value in (char_edge or {}).items():
        char[at] = value
    return Tokens(np.arange(n), char, KnownWords(word & char))


def cut(tokens: Tokens, capacity: int, overlap: int = 0) -> tuple[list[tuple[int, int]], int]:
    """The windows, and how many end inside a word."""
    found = list(windows(tokens, capacity, overlap))
    return [(begin, end) for begin, end, _ in found], sum(inside for _, _, inside in found)


@pytest.mark.parametrize(
    ("words", "capacity", "overlap", "expected"),
    [
        ((3, 3), 6, 0, ([(0, 6)], 0)),
        ((3, 3), 5, 0, ([(0, 3), (3, 6)], 0)),
        ((1, 1, 1, 1, 1), 2, 0, ([(0, 2), (2, 4), (4, 5)], 0)),
        ((2, 7, 1), 3, 0, ([(0, 2), (2, 5), (5, 8), (8, 10)], 2)),
        ((7,), 3, 0, ([(0, 3), (3, 6), (6, 7)], 2)),
        ((1, 1, 1, 1, 1), 3, 1, ([(0, 3), (2, 5)], 0)),
        ((2, 2, 2), 4, 1, ([(0, 4), (4, 6)], 0)),
        ((2, 2, 2), 4, 3, ([(0, 4), (2, 6)], 0)),
        ((1, 1, 4, 1), 4, 1, ([(0, 2), (2, 6), (6, 7)], 0)),
    ],
)
def test_windows(words: tuple[int, ...], capacity: int, overlap: int, expected: tuple[list[object], int]) -> None:
    """Windows end at the last word edge that fits, inside a word only if it fits no window, and say how often."""
    assert cut(tokens_of(*words), capacity, overlap) == expected


def test_windows_keep_characters_whole() -> None:
    """A word over the capacity is cut between characters, and inside one only if it fits no window."""
    assert cut(tokens_of(6, char_edge={3: False}), 3) == ([(0, 2), (2, 5), (5, 6)], 2)
    assert cut(tokens_of(4, char_edge={1: False, 2: False, 3: False}), 3) == ([(0, 3), (3, 4)], 1)


def test_windows_of_joined_texts() -> None:
    """Texts laid end to end are cut as one, and each begins with a word."""
    parts = [tokens_of(2, 3), tokens_of(), tokens_of(4, 1)]
    words = JoinedWords([part.words for part in parts], [len(part) for part in parts])
    whole = tokens_of(2, 3, 4, 1)
    for overlap in range(4):
        assert cut(Tokens(whole.starts, whole.char_edge, words), 4, overlap) == cut(whole, 4, overlap)


def test_windows_of_nothing() -> None:
    """A text without tokens has one window, without tokens."""
    assert cut(tokens_of(), 3) == ([(0, 0)], 0)


def test_a_word_over_the_limit_is_counted(kind: Kind) -> None:
    """Where a word alone exceeds the limit it is cut, counted, and no character of it is lost."""
    text = "flow " + "xq" * 45 + " past"
    chunks = Chunker(kind.words, 24)([text])
    assert chunks.cut_words >= 1
    assert "".join(spans(chunks, text)) == text
    assert chunks.n_tokens.max() <= 24


def test_white_space_joins_the_chunk_before(kind: Kind) -> None:
    """White space at either end of a text belongs to its first and last chunk."""
    chunks = Chunker(kind.words, 12)(["\n\n  flow past a flat plate at the speed of sound in dry air today \n "])
    assert len(chunks) > 1
    assert (chunks.start[0], chunks.end[-1]) == (0, 68)
