"""`embed-corpus model`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from embed_corpus.chunk.compare import differs_from_transformers
from embed_corpus.chunk.tokenizer import WordTokenizer
from kit.ended import Call
from kit.tiny import SIZES, add_dense, edit, save_model, wordpiece


@pytest.fixture
def folder(tiny_decoder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Qwen3, with a Dense module behind its Normalize."""
    copy = Path(shutil.copytree(tiny_decoder, tmp_path / "model"))
    add_dense(copy, 32, 16)
    return copy


def test_json(call: Call, folder: Path) -> None:
    """All that is told is what the files say and the loaded model shows; FLOPs are those of the formula."""
    told = json.loads(call("model", folder, "--json", "--devices", "cpu").out)
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32 + 2 * 8
    outside = 2 * layer + 32
    assert (told["parameters"], told["parameters_outside_tables"]) == (outside + 2000 * 32, outside)
    assert told["flops_per_token"] == 2 * outside + 4 * 2 * (128 / 2) * 4 * 8
    assert told["modules"] == ["Transformer", "Pooling (lasttoken)", "Normalize", "Dense 32 → 16 (Tanh)"]
    expected = {
        "family": "qwen3",
        "pooling": "lasttoken",
        "dimensions": 16,
        "normalized": False,
        "similarity": "cosine",
        "max_tokens": 128,
        "special_tokens": 1,
        "document_prompt": "",
        "query_prompt": "Instruct: find\nQuery:",
        "tokenizer": "byte-level BPE",
        "tokenizer_lane": "fastokens",
        "path": "packed",
        "causal": True,
        "notes": [],
        "precision": "fp32",
        "device": "cpu",
    }
    assert {name: told[name] for name in expected} == expected


def test_text(call: Call, folder: Path) -> None:
    """The text says the same to people."""
    out = call("model", folder, "--devices", "cpu").out
    for part in (
        "qwen3, causal",
        "Pooling (lasttoken), Normalize, Dense 32 → 16 (Tanh)",
        "16 dimensions, not normalised, compared by cosine",
        "128 tokens, 1 of them special",
        r"query 'Instruct: find\nQuery:'",
        "byte-level BPE, by fastokens",
        "packed: fused layers; fp32 on cpu",
        "a token, in texts of 128 tokens",
    ):
        assert part in out


def test_why_padded(call: Call, texts: list[str], tmp_path: Path) -> None:
    """A model whose texts have to be padded is told so, with the reason."""
    from transformers import MPNetConfig, MPNetModel

    model = MPNetModel(MPNetConfig(**SIZES, max_position_embeddings=66)).eval()
    save_model(tmp_path / "mpnet", model, wordpiece(texts[:20]))
    out = call("model", tmp_path / "mpnet", "--devices", "cpu").out
    assert "padded: padded, sorted by length; fp32 on cpu" in out
    assert "note: texts are padded, which is slower: architecture 'mpnet' computes its attention itself" in out


def test_config_of_another_model(call: Call, folder: Path) -> None:
    """A configuration of another family than the weights is one sentence, exit code 2."""
    edit(folder, "config.json", model_type="gemma2", hidden_activation="gelu_pytorch_tanh")
    ended = call("model", folder, "--devices", "cpu")
    assert ended.code == 2
    assert "lacks 4 weights, e.g. layers.0.post_feedforward_layernorm.weight" in ended.err


def test_pooling_has_to_be_said(call: Call, folder: Path) -> None:
    """Without modules.json the command asks for --pooling, and takes it."""
    (folder / "modules.json").unlink()
    ended = call("model", folder, "--devices", "cpu")
    assert ended.code == 2
    assert "--pooling {mean,cls,lasttoken" in ended.err
    assert "Pooling (mean), Normalize" in call("model", folder, "--devices", "cpu", "--pooling", "mean").out


def test_other_tokens_in_transformers(
    call: Call, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose own class makes other tokens than tokenizer.json is refused, and that is remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = WordTokenizer(folder)
    assert differs_from_transformers(words, folder) == ""
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["normalizer"] = {"type": "Lowercase"}  # Qwen's own class has NFC, whatever stands here
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    edit(folder, "tokenizer_config.json", tokenizer_class="Qwen2Tokenizer", eos_token="<|endoftext|>")
    ended = call("model", folder, "--devices", "cpu")
    assert ended.code == 2
    assert "transformers' Qwen2Tokenizer makes other tokens" in ended.err
    assert len(list((tmp_path / "cache").glob("*/tokenizers/*"))) == 2
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", None)
    assert "makes other tokens" in differs_from_transformers(words, folder)
