"""The padded path: the packed path's vectors, without packed batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embed_corpus.data import Chunks
from embed_corpus.engine.encoder import LocalEncoder, untested
from embed_corpus.engine.padded import PADDED_WINDOW
from embed_corpus.errors import ModelError
from embed_corpus.model.facts import read_facts
from embed_corpus.verbs.query import encode_chunks
from kit.batches import cosines, encode, encode_packed, random_ids
from kit.encoders import loaded_on_cpu, on_cpu


def padded(model: Path, **options: object) -> LocalEncoder:
    """An encoder that takes the padded path, whatever its model."""
    return on_cpu(read_facts(model), padded=True, **options)


@pytest.fixture(scope="module", params=["tiny_model", "tiny_decoder", "tiny_roberta", "tiny_mpnet"])
def any_model(request: pytest.FixtureRequest) -> Path:
    """BERT, Qwen3, RoBERTa and MPNet in turn; only the last needs the padded path."""
    return request.getfixturevalue(request.param)


@pytest.mark.heavy
@pytest.mark.parametrize("compiled", [True, False])
def test_vectors_are_those_of_the_packed_path(model: Path, chunks: Chunks, compiled: bool) -> None:
    """Natural texts of all lengths get the packed path's vectors, whichever form its layers had before."""
    packed = encode_chunks(on_cpu(read_facts(model)), chunks)
    loaded = loaded_on_cpu(read_facts(model))
    untested(loaded, compiled=compiled)
    ours = encode_chunks(untested(loaded, padded=True), chunks)
    assert ours.dtype == np.float32
    assert (cosines(ours, packed) >= 0.99999).all()
    np.testing.assert_allclose(ours, packed, atol=1e-5)


def test_lengths_at_the_edges(model: Path) -> None:
    """A text just below, at and above a width, the longest and the shortest get the packed path's vectors, and bits."""
    encoder = padded(model)
    ids = random_ids([31, 32, 33, encoder.runner.longest, encoder.runner.longest - 1, 1, 2])
    together = encode(encoder, ids)
    assert (cosines(together, encode(on_cpu(encoder.runner.facts), ids)) >= 0.99999).all()
    assert np.concatenate([encode(encoder, [i]) for i in ids]).tobytes() == together.tobytes()


@pytest.mark.parametrize("longest", [1, 7, 31, 40])
def test_longest_is_no_multiple_of_a_width(tiny_model: Path, longest: int) -> None:
    """A job whose longest chunk is no multiple of 32 tokens gets the same vectors, and the same bits in any batch."""
    encoder, ids = padded(tiny_model, longest=longest), random_ids([longest, max(1, longest - 3)] * 20)
    expected, vectors = encode(on_cpu(encoder.runner.facts), ids), encode(encoder, ids)
    assert (cosines(vectors, expected) >= 0.99999).all()
    assert np.concatenate([encode(encoder, [i]) for i in ids]).tobytes() == vectors.tobytes()


@pytest.mark.heavy
def test_same_bits_in_any_batch(any_model: Path) -> None:
    """A text's vector has the same bits in any order, in windows of any size, and alone."""
    encoder = padded(any_model)
    ids = random_ids(np.random.default_rng(1).integers(1, encoder.runner.longest + 1, 300).tolist())
    expected = encode(encoder, ids)
    order = np.random.default_rng(0).permutation(len(ids))
    assert encode(encoder, [ids[i] for i in order]).tobytes() == expected[order].tobytes()
    for budget in (256, 1000, 5000):
        assert encode_packed(encoder, ids, budget).tobytes() == expected.tobytes()
    assert np.concatenate([encode(encoder, [i]) for i in ids[::10]]).tobytes() == expected[::10].tobytes()


def test_no_leak(any_model: Path) -> None:
    """A text before and behind another one gives the same vector twice, and it is no other's."""
    a, b = random_ids([40, 50])
    first, middle, last = encode(padded(any_model), [a, b, a])
    assert first.tobytes() == last.tobytes() != middle.tobytes()


def test_window(tiny_model: Path) -> None:
    """Many passes' worth of texts are sorted by length together, and come back in the order they had."""
    encoder = padded(tiny_model)
    assert encoder.batch_tokens == encoder.packer().budget == PADDED_WINDOW * encoder.token_budget
    ids = random_ids([50, 3] * 100)
    vectors = encode(encoder, ids)
    assert vectors[::2].tobytes() == encode(encoder, ids[::2]).tobytes()


def test_model_has_its_own_attention_only_inside(tiny_model: Path) -> None:
    """A padded pass leaves the model as it was: the packed path goes on over the same weights."""
    model, ids = loaded_on_cpu(read_facts(tiny_model)), random_ids([5, 60, 33])
    encoder = untested(model, compiled=False)
    before = encode(encoder, ids)
    encode(untested(model, padded=True), ids)
    assert encode(encoder, ids).tobytes() == before.tobytes()


def test_fp8_has_no_padded_path(tiny_decoder: Path) -> None:
    """fp8 needs packed layers, and the message says what to use instead."""
    with pytest.raises(ModelError, match=r"fp8 needs the packed path.*--precision auto"):
        on_cpu(read_facts(tiny_decoder), "fp8", padded=True)
