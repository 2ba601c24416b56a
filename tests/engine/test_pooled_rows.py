"""Where pooling reads one token a text, the end of the last layer is computed for those alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embed_corpus.engine import forward
from embed_corpus.engine.encoder import LocalEncoder
from embed_corpus.engine.families import bert, fuse, qwen3
from embed_corpus.engine.forward import FusedLayers
from embed_corpus.engine.kernels import attention
from embed_corpus.model.facts import read_facts
from kit.batches import encode, random_ids
from kit.encoders import loaded_on_cpu, on_cpu

pytest.importorskip("triton")
pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="heads of 8 numbers are for Triton's interpreter alone"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),  # numpy, in the interpreter, about masked lanes
]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads of 8 numbers, which no real kernel would take, and 8 rows that go through together."""
    monkeypatch.setitem(attention._SHORT, 8, attention._SHORT[16])
    for module in (forward, bert, qwen3):
        monkeypatch.setattr(module, "POOLED_ROWS", 8)


def encoders(folder: Path) -> tuple[LocalEncoder, LocalEncoder]:
    """The model with every row computed, and with the pooled ones alone (by the kernels, in Triton's interpreter)."""
    facts = read_facts(folder)
    model = loaded_on_cpu(facts)
    layers = FusedLayers(fuse(model.module), 64 if facts.pooling == "cls" else 32, facts.pooling)
    assert layers.pools
    return on_cpu(facts), LocalEncoder(model, layers, 1024)


@pytest.mark.heavy
@pytest.mark.parametrize("lengths", [[5, 57, 1, 33], [64], [2] * 20])
@pytest.mark.parametrize("name", ["tiny_decoder", "tiny_roberta"])
def test_same_vectors_as_with_every_row(name: str, lengths: list[int], request: pytest.FixtureRequest) -> None:
    """Texts of one token, of several tiles, and more texts than go through together."""
    whole, pooled = encoders(request.getfixturevalue(name))
    ids = random_ids(lengths)
    np.testing.assert_allclose(encode(pooled, ids), encode(whole, ids), atol=2e-6)


def test_same_bits_however_many_texts_there_are(tiny_decoder: Path) -> None:
    """A text alone, and as the last of 20, has the same vector to the bit."""
    _, pooled = encoders(tiny_decoder)
    ids = random_ids([2] * 20)
    assert torch.equal(torch.from_numpy(encode(pooled, ids[-1:])[0]), torch.from_numpy(encode(pooled, ids)[-1]))
