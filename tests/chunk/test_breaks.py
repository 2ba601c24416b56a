"""Sentences and paragraphs: where they end, and that chunks end there."""

from __future__ import annotations

import random
import time
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_corpus.chunk import tokenizer as tokenizer_module
from embed_corpus.chunk.breaks import breaks_of
from embed_corpus.chunk.windows import Chunker
from kit.chunk_checks import Kind, check_document, ids_of, spans
from kit.free_text import random_document


def pieces(text: str, by: str) -> list[str]:
    """A text cut at all its breaks of the coarsest kind."""
    edges = [0, *(at for at in breaks_of(text, by)[0].begins.tolist() if at < len(text)), len(text)]
    return [text[a:b] for a, b in pairwise(edges) if a < b]


@pytest.mark.parametrize(
    "sentences",
    [
        ["One ends. ", "Two ends!  ", "Three?\n", "Four"],
        ['He said "Stop." ', "(So he did.) ", "Why?! ", "Well… ", "1.5 is a number."],
        ["See e.g. this, i.e. that, by J. R. Smith. ", "Next"],
        ["Wait... then go. ", "Done"],
        ["all small letters . ", "so it ends ."],
        ["今日は晴れ。", "明日は？", "「雨です。」", "終わり"],  # noqa: RUF001
        ["هل هذا صحيح؟ ", "نعم."],
        ["यह पहला है। ", "यह दूसरा है।"],
        ["A heading\n\n", "Its text. ", "More\n \n\n", "End"],
        ["no end in sight"],
        ["..."],
        [""][:0],
    ],
)
def test_sentences(sentences: list[str]) -> None:
    """Sentences end at their marks with what closes behind them, in many scripts, and at blank lines."""
    assert pieces("".join(sentences), "sentences") == sentences


@pytest.mark.parametrize(
    "paragraphs",
    [["One. Two.\n\n", "Three\nfour\r\n\r\n", "five\n   \n\n  ", "six"], ["one\u2029", "two"], ["one\ntwo"]],
)
def test_paragraphs(paragraphs: list[str]) -> None:
    """Paragraphs end with blank lines, whatever white space is in them."""
    assert pieces("".join(paragraphs), "paragraphs") == paragraphs


@pytest.mark.parametrize(
    "text", ["." * 400_000 + "x", ".)" * 200_000, "\n " * 200_000, "\n" + " " * 400_000 + "x", "。" * 400_000]
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    """No text makes the rules take more than a few steps a character."""
    begin = time.perf_counter()
    breaks_of(text, "paragraphs")
    assert time.perf_counter() - begin < 2


def test_windows_end_with_sentences(kind: Kind) -> None:
    """As many sentences as fit make a chunk; one that does not fit is cut at words, and the next goes on from there."""
    text = "One two three. Four five six. Seven eight nine. " + "Ten eleven twelve " * 10 + "end. Last one here."
    (encoded,) = kind.words.encode(["One two three. Four five six."])
    limit = len(encoded.ids) + len(kind.ids("")) + 1
    chunks = Chunker(kind.words, limit, by="sentences")([text])
    found = [span.strip() for span in spans(chunks, text)]
    assert found[0] == "One two three. Four five six."
    assert found[1] == "Seven eight nine."
    assert found[2].startswith("Ten eleven")
    assert "".join(spans(chunks, text)) == text


def test_paragraphs_before_sentences_before_words(kind: Kind) -> None:
    """A window ends with a paragraph if one ends inside, else with a sentence, else with a word."""
    text = "One two. Three four.\n\nFive six. Seven eight. Nine ten eleven twelve. " + "word " * 40
    limit = len(kind.ids("One two. Three four.\n\nFive six. Seven eight. Nine")) + 1
    found = [span.strip() for span in spans(Chunker(kind.words, limit, by="paragraphs")([text]), text)]
    assert found[0] == "One two. Three four."
    assert found[1].endswith(".")
    assert not found[-1].endswith(".")


@pytest.mark.heavy
def test_natural_pages(kind: Kind, texts: list[str], long_texts: list[str]) -> None:
    """On natural pages every chunk is right, and most end with a sentence."""
    n_ends = n = 0
    for text in [*texts[:30], *long_texts[:2]]:
        for by in ("sentences", "paragraphs"):
            check_document(kind, text, 96, 0, by)
        ends = spans(Chunker(kind.words, 96, by="sentences")([text]), text)[:-1]
        n_ends, n = (
            n_ends + sum(end.rstrip().endswith((".", "?", "!", ")")) or "\n\n" in end[-4:] for end in ends),
            n + len(ends),
        )
    assert n_ends > 0.8 * n


@pytest.mark.heavy
@pytest.mark.parametrize("by", ["sentences", "paragraphs"])
@pytest.mark.parametrize(("limit", "overlap"), [(64, 0), (64, 20), (300, 0)])
def test_texts_in_slabs(
    kind: Kind,
    by: str,
    limit: int,
    overlap: int,
    texts: list[str],
    long_texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A long text cut while it is tokenised gives the chunks of the whole text."""
    many = ["a" * 3000 + ". " + long_texts[1], *long_texts[2:4], "。".join(texts[:5]), "\n\n".join(texts[:40])]
    chunker = Chunker(kind.words, limit, overlap, by=by)
    whole = chunker(many)
    monkeypatch.setattr(tokenizer_module, "_SLAB_CHARS", 1500)
    slabs = chunker(many)
    for field in fields(whole):
        np.testing.assert_array_equal(getattr(slabs, field.name), getattr(whole, field.name), err_msg=field.name)
    assert ids_of(slabs) == ids_of(whole)


@pytest.mark.heavy
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=50, deadline=None)
def test_chunks_of_random_documents(kind: Kind, seed: int) -> None:
    """1,000 random documents of many scripts: covered, limit kept, spans and overlap exact, however they are cut."""
    dice = random.Random(seed)
    for _ in range(20):
        text, limit, overlap = random_document(dice), dice.randint(24, 64), dice.choice([0, 0, 5, 20])
        for by in ("tokens", "sentences", "paragraphs"):
            check_document(kind, text, limit, overlap, by)


def test_the_job_tells_them_apart(tiny_model: Path, tmp_path: Path) -> None:
    """How chunks are cut is part of the job."""
    from embed_corpus.errors import UsageError
    from embed_corpus.job.config import JobConfig
    from embed_corpus.job.prepare import prepare

    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    line = {
        "input": (str(tmp_path / "a.jsonl"),),
        "output": tmp_path / "out",
        "model": str(tiny_model),
        "devices": "cpu",
    }
    prepare(JobConfig(**line))
    with pytest.raises(UsageError, match='chunk_by: "tokens" there, "sentences" now'):
        prepare(JobConfig(**line, chunk_by="sentences"))
