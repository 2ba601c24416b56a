"""Chunks of natural texts for the model at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Chunks
from embed_corpus.model.facts import read_facts


@pytest.fixture(scope="module", params=["tiny_model", "tiny_decoder", "tiny_roberta"])
def model(request: pytest.FixtureRequest) -> Path:
    """BERT with the mean, Qwen3 with the last token, RoBERTa with the first, in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def chunks(model: Path, documents: list[str]) -> Chunks:
    """The documents' chunks, up to the longest that the model takes."""
    return Chunker(WordTokenizer(model), read_facts(model).max_tokens)(documents)


@pytest.fixture(autouse=True)
def _one(one_thread: None) -> None: ...
