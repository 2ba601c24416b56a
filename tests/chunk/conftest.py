"""Each kind of tokenizer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tokenizers import Tokenizer

from kit.chunk_checks import Kind
from kit.tiny import byte_bpe, unigram, wordpiece


@pytest.fixture(scope="module", params=[wordpiece, byte_bpe, unigram], ids=lambda train: train.__name__)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Kind:
    """Each kind of tokenizer in turn, trained on Cranfield."""
    train: Callable[[list[str]], Tokenizer] = request.param
    return Kind(tmp_path_factory.mktemp("tokenizer"), train(texts))
