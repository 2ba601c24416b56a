"""Every kind of tokenizer gives the tokens that transformers' own class gives, whole, in chunks and in slabs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from embed_corpus.chunk import tokenizer as ours
from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Chunks
from kit.free_text import DOCUMENTS
from parity.kinds import KINDS
from parity.texts import SENTENCES

Files = Callable[[str], Path]


@pytest.fixture(scope="session")
def files(trained: Callable[[str], Tokenizer], tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Gives a folder with the tokenizer of a kind, as a model's folder has it."""

    def save(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        trained(name).save(str(folder / "tokenizer.json"))
        config = {"tokenizer_class": KINDS[name].cls, **KINDS[name].roles}
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        return folder

    return save


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, files: Files) -> tuple[WordTokenizer, Callable[[str], list[int]]]:
    """Our form of a tokenizer, and ids by transformers' own class for it."""
    folder = files(request.param)
    return WordTokenizer(folder), AutoTokenizer.from_pretrained(folder).encode


def lists(chunks: Chunks) -> list[list[int]]:
    """Each chunk's ids."""
    return [ids.tolist() for ids in chunks.ids()]


def alone(span: str, words: WordTokenizer) -> str:
    """A chunk's text as it gives the chunk's ids again.

    Llama 2's normaliser puts a space before every text, one that begins with a space too: there a chunk
    which begins with a space is to be embedded without it.
    """
    prepends = words._inner is not words._slow
    return span[1:] if prepends and span.startswith(" ") else span


def test_same_ids_as_transformers(kind: tuple[WordTokenizer, Callable[[str], list[int]]]) -> None:
    """Sentences in many scripts, among spaces and lines, get the ids of the model's own class."""
    words, theirs = kind
    texts = [*SENTENCES, *(f" {s}" for s in SENTENCES[:4]), *(f"{s}\n\n  x" for s in SENTENCES[:4])]
    assert lists(Chunker(words, 4096)(texts)) == [theirs(text) for text in texts]


def test_chunks_are_cut_at_words(kind: tuple[WordTokenizer, Callable[[str], list[int]]], texts: list[str]) -> None:
    """No chunk of natural text ends inside a word, and each, tokenised anew, gives its ids again."""
    words, theirs = kind
    documents = [*texts[:25], " ".join(SENTENCES[:9]), " ".join(SENTENCES[4:10])]
    chunks = Chunker(words, 48)(documents)
    assert chunks.cut_words == 0
    spans = [documents[d][a:b] for d, a, b in zip(chunks.doc, chunks.start, chunks.end, strict=True)]
    assert [ids.tolist() for ids in chunks.ids()] == [theirs(alone(span, words)) for span in spans]


def test_last_token_of_every_chunk(kind: tuple[WordTokenizer, Callable[[str], list[int]]], texts: list[str]) -> None:
    """Whatever is split or truncated, each chunk begins and ends with the model's special tokens."""
    words, theirs = kind
    begin, end = words.prefix.tolist(), words.suffix.tolist()
    assert [*begin, *end] == [i for i in theirs("") if i in {*begin, *end}]
    assert end
    for truncate in (False, True):
        for ids in lists(Chunker(words, 24, truncate=truncate)(texts[:9])):
            assert ids[: len(begin)] == begin
            assert ids[-len(end) :] == end
            assert len(ids) <= 24


def test_slabs_are_cut_safely(
    kind: tuple[WordTokenizer, Callable[[str], list[int]]], texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that is tokenised piece by piece gives the chunks of one that is tokenised whole."""
    words, _ = kind
    document = " ".join(texts[:6] + SENTENCES)
    whole = Chunker(words, 48)([document])
    monkeypatch.setattr(ours, "_SLAB_CHARS", 512)
    sliced = Chunker(words, 48)([document])
    assert sliced.input_ids.tolist() == whole.input_ids.tolist()
    assert sliced.end.tolist() == whole.end.tolist()


@given(text=DOCUMENTS, limit=st.integers(12, 40))
@settings(max_examples=8, deadline=None)
def test_any_text_in_chunks(kind: tuple[WordTokenizer, Callable[[str], list[int]]], text: str, limit: int) -> None:
    """Spans of any text lie end to end, keep the limit, and give their ids again unless a word was cut."""
    words, theirs = kind
    chunks = Chunker(words, limit)([text])
    assert chunks.start.tolist() == [0, *chunks.end.tolist()][:-1]
    assert chunks.end.tolist()[-1:] == [len(text)]
    assert chunks.n_tokens.max() <= limit
    assume(not chunks.cut_words)
    spans = [text[a:b] for a, b in zip(chunks.start, chunks.end, strict=True)]
    assert lists(chunks) == [theirs(span if i == 0 else alone(span, words)) for i, span in enumerate(spans)]


@pytest.mark.heavy
def test_tokens_across_words_leave_a_document_whole(files: Files, tmp_path: Path, texts: list[str]) -> None:
    """A tokenizer that knows no words and has a token across a space is never given a document in pieces."""
    folder = Path(shutil.copytree(files("gemma"), tmp_path / "model"))
    spec = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = spec["model"]["vocab"]
    vocabulary["e▁"] = len(vocabulary)
    spec["model"]["merges"].append(["e", "▁"])
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    assert WordTokenizer(files("gemma"))._slow.has_safe_cuts
    words = WordTokenizer(folder)
    assert not words._slow.has_safe_cuts
    text = " ".join(texts) * 3
    assert [last for _, last in words.slabs(text)] == [True]


@pytest.mark.parametrize("asked", ["tokenizer_config.json", "sentence_bert_config.json"])
def test_lower_casing_is_kept(files: Files, tmp_path: Path, asked: str) -> None:
    """Texts are lower-cased where either file says so, against tokenizer.json, and not where none does."""
    folder = Path(shutil.copytree(files("cased"), tmp_path / "model"))
    text = "Heat TRANSFER"
    before = lists(Chunker(WordTokenizer(folder), 32)([text]))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / asked).write_text(json.dumps((config if "tokenizer" in asked else {}) | {"do_lower_case": True}))
    after = lists(Chunker(WordTokenizer(folder), 32)([text]))
    assert after == lists(Chunker(WordTokenizer(files("cased")), 32)([text.lower()])) != before
    if "tokenizer" in asked:
        assert after == [AutoTokenizer.from_pretrained(folder).encode(text)]
