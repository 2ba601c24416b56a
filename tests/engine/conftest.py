"""Chunks of natural texts for the model at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Chunks
from embed_corpus.model.facts import read_facts


@pytest.fixture(scope="module", params=["tiny_model", "tiny_decoder", "tiny_roberta"])
def model(request: pytest.FixtureRequest) -> Path:
    """BERT with the mean, Qwen3 with the last token, RoBERTa with the first, in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def documents(texts: list[str]) -> list[str]:
    """Natural texts of all lengths from 3 to 400 characters."""
    return [text[: 3 + 7 * i % 400] for i, text in enumerate(texts[:210])]


@pytest.fixture(scope="module")
def chunks(model: Path, documents: list[str]) -> Chunks:
    """The documents' chunks, up to the longest that the model takes."""
    return Chunker(WordTokenizer(model), read_facts(model).max_tokens)(documents)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run on one thread: for models this small more of them only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
