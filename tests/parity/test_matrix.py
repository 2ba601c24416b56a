"""Every architecture with its kind of tokenizer gets sentence-transformers' vectors, packed and padded."""

from __future__ import annotations

import numpy as np
import pytest

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.engine.encoder import untested
from embed_corpus.engine.ready import get_ready
from embed_corpus.model.facts import read_facts
from embed_corpus.verbs.query import encode_chunks
from kit.batches import cosines
from kit.encoders import loaded_on_cpu
from parity.conftest import Build
from parity.texts import samples
from parity.zoo import ZOO


@pytest.mark.heavy
@pytest.mark.parametrize("name", ZOO)
def test_vectors_are_those_of_sentence_transformers(name: str, bred: Build) -> None:
    """200 texts of 1 to 2,000 tokens in many scripts: cosine 0.99999 at least on every row, on both paths."""
    from sentence_transformers import SentenceTransformer

    folder = bred(name)
    facts = read_facts(folder)
    tokenizer = WordTokenizer(folder)
    texts = samples(lambda text: sum(len(encoded.ids) for encoded in tokenizer.encode([text])))
    chunks = Chunker(tokenizer, facts.max_tokens)(texts)
    assert len(chunks) == len(texts) == 200
    assert chunks.n_tokens.min() <= 8
    assert 1800 < chunks.n_tokens.max() <= 2048
    model = SentenceTransformer(str(folder), device="cpu")
    theirs = model.encode_document(texts, batch_size=4)
    model = loaded_on_cpu(facts)
    encoder, notes, _ = get_ready(model)
    assert encoder.padded != ZOO[name].packed, notes
    ways = [encode_chunks(encoder, chunks)]
    if not encoder.padded:
        ways.append(encode_chunks(untested(model, padded=True), chunks))
    assert [float(cosines(ours, theirs).min()) >= 0.99999 for ours in ways] == [True] * len(ways)
    for ours in ways:
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
