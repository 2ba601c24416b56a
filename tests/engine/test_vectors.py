"""Vectors, attention and pooling."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from embed_corpus.data import Chunks
from embed_corpus.engine.attention import packed_attention
from embed_corpus.engine.encoder import LocalEncoder
from embed_corpus.engine.pooling import pool
from embed_corpus.model.facts import read_facts
from embed_corpus.verbs.query import encode_chunks
from kit.batches import cosines, encode, encode_packed, ids_of
from kit.encoders import on_cpu


@pytest.fixture(scope="module", params=["fused layers", "transformers' layers, eager"])
def encoder(request: pytest.FixtureRequest, model: Path) -> LocalEncoder:
    """The model on the CPU, in full precision, its layers run each way that there is."""
    encoder = on_cpu(read_facts(model), compiled=request.param == "fused layers")
    assert encoder.forward.name == request.param
    return encoder


# --- vectors -----------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("budget", [256, 2048])
def test_parity(
    model: Path,
    encoder: LocalEncoder,
    documents: list[str],
    chunks: Chunks,
    budget: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every chunk's vector is what sentence-transformers makes of the chunk's text."""
    from sentence_transformers import SentenceTransformer

    spans = [documents[d][a:b] for d, a, b in zip(chunks.doc, chunks.start, chunks.end, strict=True)]
    theirs = SentenceTransformer(str(model), device="cpu").encode(spans, batch_size=64, show_progress_bar=False)
    monkeypatch.setattr(encoder, "token_budget", budget)
    ours = encode_chunks(encoder, chunks)
    assert len(ours) >= 200
    assert len(set(chunks.n_tokens.tolist())) >= 30
    assert (cosines(ours, theirs) >= 0.99999).all()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_in_any_batch(encoder: LocalEncoder, chunks: Chunks, threads: int) -> None:
    """A chunk's vector has the same bits under every token budget, and alone."""
    torch.set_num_threads(threads)
    expected = encode_packed(encoder, ids_of(chunks), 256)
    for budget in (512, 4096):
        assert encode_packed(encoder, ids_of(chunks), budget).tobytes() == expected.tobytes()
    alone = np.concatenate([encode(encoder, [ids]) for ids in ids_of(chunks)[::4]])
    assert alone.tobytes() == expected[::4].tobytes()


def test_same_bits_in_any_order(encoder: LocalEncoder, chunks: Chunks) -> None:
    """A chunk's vector has the same bits wherever it stands in the batch."""
    ids = ids_of(chunks)
    order = np.random.default_rng(0).permutation(len(ids))
    shuffled = encode(encoder, [ids[i] for i in order])
    assert shuffled.tobytes() == encode(encoder, ids)[order].tobytes()


def test_no_leak(encoder: LocalEncoder, chunks: Chunks) -> None:
    """A text before and behind another one gives the same vector twice, and another neighbour changes nothing."""
    a, b, c = sorted(ids_of(chunks), key=len)[-3:]
    first, middle, last = encode(encoder, [a, b, a])
    assert first.tobytes() == last.tobytes() == encode(encoder, [c, a])[1].tobytes()
    assert middle.tobytes() == encode(encoder, [b])[0].tobytes()
    assert first.tobytes() != middle.tobytes()


def test_position_matters(encoder: LocalEncoder) -> None:
    """A text's tokens in another order give another vector: positions reach the model."""
    ids = np.arange(10, 40, dtype=np.int32)
    swapped = np.concatenate([ids[:1], ids[1:-1][::-1], ids[-1:]])
    there, back = encode(encoder, [ids, swapped])
    assert np.abs(there - back).max() > 1e-4


def test_shape_and_length(model: Path, encoder: LocalEncoder, chunks: Chunks) -> None:
    """Vectors are finite float32 of the model's dimension, of unit length where the model says so."""
    vectors = encode_chunks(encoder, chunks)
    lengths = np.linalg.norm(vectors, axis=1)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(chunks), encoder.runner.facts.dim))
    assert np.isfinite(vectors).all()
    assert bool(np.allclose(lengths, 1, atol=1e-6)) == encoder.runner.facts.normalize


@pytest.mark.heavy
@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.9999), ("bf16", 0.999)])
def test_half_precision(model: Path, encoder: LocalEncoder, chunks: Chunks, precision: str, least: float) -> None:
    """In half precision vectors are float32 still, and close to those of full precision."""
    compiled = encoder.forward.name == "fused layers"
    half = encode_chunks(on_cpu(encoder.runner.facts, precision, compiled=compiled), chunks)
    assert half.dtype == np.float32
    assert least <= cosines(half, encode_chunks(encoder, chunks)).min() < 1


# --- attention ---------------------------------------------------------------------------------

EDGES = torch.tensor([0, 1, 12, 20, 45], dtype=torch.int32)


def heads(n_keys: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random query, key and value of EDGES' texts; 4 heads, `n_keys` of them for keys and values."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(1, n, int(EDGES[-1]), 8, generator=generator).double() for n in (4, n_keys, n_keys))


def reference(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, window: int | None, *, causal: bool, scaling: float
) -> torch.Tensor:
    """Attention as the textbook has it: all scores, a mask, softmax."""
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    text = torch.bucketize(torch.arange(int(EDGES[-1])), EDGES, right=True)
    back = torch.arange(len(text))[:, None] - torch.arange(len(text))
    seen = (text[:, None] == text) & (back.abs() < (window or len(text))) & ((back >= 0) | (not causal))
    scores = (query @ key.transpose(2, 3) * scaling).masked_fill(~seen, -torch.inf)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("n_keys", [4, 2, 1])
@pytest.mark.parametrize("window", [None, 1, 5, 25, 100])
@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal: bool, window: int | None, n_keys: int) -> None:
    """Packed attention is masked softmax within each text, for windows, grouped heads and both directions."""
    qkv = heads(n_keys)
    expected = reference(*qkv, window, causal=causal, scaling=8**-0.5)
    layer = torch.nn.Module()
    layer.is_causal = causal
    out, weights = packed_attention(layer, *qkv, cu_seq_lens_q=EDGES, max_length_q=25, sliding_window=window)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    assert weights is None


def test_attention_options() -> None:
    """The scale of the scores is the model's, and `is_causal` overrides what the layer says."""
    qkv = heads(4)
    layer = torch.nn.Module()
    layer.is_causal = True
    out, _ = packed_attention(layer, *qkv, cu_seq_lens_q=EDGES, max_length_q=25, scaling=0.9, is_causal=False)
    torch.testing.assert_close(out, reference(*qkv, None, causal=False, scaling=0.9), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ({"attention_mask": torch.ones(1, 1, 45, 45)}, "mask"),
        ({"softcap": 50.0}, "softcap"),
        ({"s_aux": torch.ones(4)}, "s_aux"),
        ({"position_bias": torch.ones(1)}, "position_bias"),
    ],
)
def test_attention_refuses(option: dict[str, object], named: str) -> None:
    """What packed attention does not do is an error that names it, never ignored."""
    with pytest.raises(NotImplementedError, match=f"takes no {named}$"):
        packed_attention(torch.nn.Module(), *heads(4), cu_seq_lens_q=EDGES, max_length_q=25, **option)


# --- pooling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("mode", "one"),
    [("cls", lambda rows: rows[0]), ("lasttoken", lambda rows: rows[-1]), ("mean", lambda rows: rows.mean(dim=0))],
)
def test_pool(mode: str, one: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype) -> None:
    """Pooling takes the first, the last or the mean of each text's own rows, as float32."""
    hidden = torch.randn(45, 6, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = torch.stack([one(hidden[a:b].float()) for a, b in pairwise(EDGES.tolist())])
    pooled = pool(hidden, EDGES.long(), mode)
    torch.testing.assert_close(pooled, expected, rtol=1e-6, atol=1e-6)
    assert pooled.dtype == torch.float32


def test_pool_unknown() -> None:
    """An unknown pooling is an error that names it."""
    with pytest.raises(ValueError, match="unknown pooling 'middle'"):
        pool(torch.zeros(45, 6), EDGES.long(), "middle")
