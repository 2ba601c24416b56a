"""Matryoshka: vectors cut on the device, of unit length again, where the model was trained for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.errors import UsageError
from embed_corpus.job.config import JobConfig
from embed_corpus.job.prepare import prepare
from embed_corpus.model.facts import read_facts
from embed_corpus.model.matryoshka import at_dim, declared_dims, resolve_dim
from embed_corpus.verbs.query import encode_chunks
from kit.encoders import on_cpu
from kit.tiny import byte_bpe, edit, save_model

QUERY = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A random Qwen3 of the hidden size of Qwen3-Embedding-0.6B, laid out as that is."""
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=2000,
        hidden_size=1024,
        num_hidden_layers=2,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=16,
        intermediate_size=64,
        initializer_range=0.1,
        max_position_embeddings=128,
        pad_token_id=0,
        eos_token_id=0,
    )
    prompts = {"query": QUERY, "document": ""}
    folder = tmp_path_factory.mktemp("qwen")
    model = Qwen3Model(config).eval()
    return save_model(folder, model, byte_bpe(texts), pooling="lasttoken", max_length=128, prompts=prompts)


def vectors(folder: Path, documents: list[str], dim: int | None) -> NDArray[np.float32]:
    """Our vectors of some documents, cut to `dim`."""
    facts = resolve_dim(read_facts(folder), dim, forced=False)
    chunks = Chunker(WordTokenizer(folder), 128)(documents)
    assert len(chunks) == len(documents)
    return encode_chunks(on_cpu(facts), chunks)


@pytest.mark.parametrize("dim", [32, 256, 1024])
def test_equals_sentence_transformers(qwen: Path, documents: list[str], dim: int) -> None:
    """--dim gives what sentence-transformers' truncate_dim and normalising give, of unit length."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(qwen), device="cpu", truncate_dim=dim)
    theirs = model.encode(documents[:60], normalize_embeddings=True, show_progress_bar=False)
    ours = vectors(qwen, documents[:60], dim)
    assert ours.shape == theirs.shape == (60, dim)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    assert (ours * theirs).sum(1).min() >= 0.99999
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_is_the_begin_of_the_whole_vector(qwen: Path, documents: list[str]) -> None:
    """A cut vector points where the first numbers of the whole one do."""
    whole, cut = vectors(qwen, documents[:20], None)[:, :48], vectors(qwen, documents[:20], 48)
    np.testing.assert_allclose(cut, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    ("file", "fields", "expected"),
    [
        ("config.json", {}, []),
        ("config.json", {"matryoshka_dimensions": [8, 16, 32]}, [8, 16]),
        ("config_sentence_transformers.json", {"truncate_dim": 16}, [16]),
        ("config_sentence_transformers.json", {"matryoshka_dims": [4]}, [4]),
        ("config.json", {"is_matryoshka": True}, list(range(1, 32))),
    ],
)
def test_what_models_declare(
    tiny_model: Path, tmp_path: Path, file: str, fields: dict[str, object], expected: list[int]
) -> None:
    """Dimensions come from the fields that models have for them."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    edit(folder, file, **fields)
    assert list(declared_dims(read_facts(folder))) == expected


def test_the_models_own_cut(tiny_model: Path, tmp_path: Path) -> None:
    """A model whose files cut its vectors (truncate_dim) is cut without being asked, as sentence-transformers does."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    edit(folder, "config_sentence_transformers.json", truncate_dim=16)
    facts = read_facts(folder)
    assert resolve_dim(facts, None, forced=False).dim == 16
    assert resolve_dim(facts, 32, forced=False) == facts


@pytest.mark.parametrize(
    ("dim", "message"),
    [
        (31, "--dim 31: the model was trained for 32 to 1024 dimensions.*--force-dim"),
        (1025, "--dim 1025: the model's vectors have 1024 dimensions"),
    ],
)
def test_refused(qwen: Path, dim: int, message: str) -> None:
    """A dimension that the model does not have is refused."""
    with pytest.raises(UsageError, match=message):
        resolve_dim(read_facts(qwen), dim, forced=False)


def test_undeclared(tiny_model: Path, tmp_path: Path) -> None:
    """A model that names no dimension is cut by force alone, and the cut is another space."""
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    fields = {"input": (str(tmp_path / "a.jsonl"),), "model": str(tiny_model), "devices": "cpu"}
    with pytest.raises(UsageError, match=r"name no smaller dimension .*--force-dim"):
        prepare(JobConfig(**fields, output=tmp_path / "no", dim=16))
    whole = prepare(JobConfig(**fields, output=tmp_path / "whole"))
    cut = prepare(JobConfig(**fields, output=tmp_path / "cut", dim=16, force_dim=True))
    assert (cut.facts.dim, cut.form.dim, cut.facts) == (16, 16, at_dim(whole.facts, 16))
    assert cut.form.facts["space"]["hash"] != whole.form.facts["space"]["hash"]
