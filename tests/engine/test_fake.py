"""The encoder without a model."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from embed_corpus.engine.fake import FakeEncoder
from embed_corpus.feed.packing import make_batch, pack_all

LENGTHS = (1, 2, 40, 300, 7, 7)
TEXTS = [(7919 * np.arange(i, i + n) % 30_000).astype(np.int32) for i, n in enumerate(LENGTHS)]


def embedded(encoder: FakeEncoder, texts: list[np.ndarray] = TEXTS) -> np.ndarray:
    """Vectors of texts, in batches as the encoder wants them."""
    return np.concatenate([encoder.submit(batch).result() for batch in pack_all(encoder.packer(), texts)])


@pytest.mark.parametrize("batch_tokens", [300, 10_000])
def test_a_vector_is_its_text_s_alone(batch_tokens: int) -> None:
    """A text has the same vector of unit length, bit by bit, in whatever batch it goes through."""
    encoder = FakeEncoder(16, batch_tokens)
    vectors = embedded(encoder)
    assert encoder.n_chunks == len(TEXTS)
    assert vectors.tobytes() == b"".join(embedded(FakeEncoder(16), [text]).tobytes() for text in TEXTS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_texts_are_told_apart() -> None:
    """Another word, or another order, is another vector; texts that share most of their words are near each other."""
    text = np.arange(50, dtype=np.int32)
    other = text.copy()
    other[7] = 999
    one, changed, turned, foreign = embedded(FakeEncoder(64), [text, other, text[::-1].copy(), text + 1000])
    assert len({v.tobytes() for v in (one, changed, turned, foreign)}) == 4
    assert one @ changed > 0.8 > one @ foreign


def test_chunks_of_a_pass_have_their_own() -> None:
    """With late chunking each chunk of a text has the vector of its own tokens."""
    lengths = np.array([40, 7], np.int32)
    batch = make_batch(np.concatenate([TEXTS[2], TEXTS[4]]), np.array([47], np.int32), pooled=lengths)
    together = FakeEncoder(16).submit(batch).result()
    assert together.tobytes() == embedded(FakeEncoder(16), [TEXTS[2], TEXTS[4]]).tobytes()


def test_the_same_bits_everywhere() -> None:
    """Whole numbers, a root and a quotient: no machine rounds them otherwise."""
    found = hashlib.sha256(embedded(FakeEncoder(16)).tobytes()).hexdigest()
    assert found == "19e761923ce546572ddaa717e34f3adefd1ed3062b2d035ffa2456a10a9869a9"
