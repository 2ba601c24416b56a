"""Poolings and the modules behind them, as sentence-transformers runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.engine.pooling import pool
from embed_corpus.errors import ModelError
from embed_corpus.job.fingerprint import space_record
from embed_corpus.model.facts import POOLINGS, read_facts
from kit.batches import cosines, encode
from kit.encoders import on_cpu
from kit.tiny import add_dense, edit

TEXTS = ["flow", "heat transfer in hypersonic flow", "a boundary layer past a flat plate , " * 9]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT, whose vectors are not normalised, so that lengths are compared too."""
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    modules = json.loads((copy / "modules.json").read_text())[:2]
    (copy / "modules.json").write_text(json.dumps(modules))
    return copy


def pooled_by(folder: Path, **fields: object) -> Path:
    """Give a model another pooling."""
    (folder / "1_Pooling/config.json").write_text(json.dumps({"embedding_dimension": 32, **fields}))
    return folder


def ours(folder: Path, *, padded: bool = False) -> np.ndarray:
    """Vectors of `TEXTS`, each cut to the model's limit."""
    facts = read_facts(folder)
    return encode(
        on_cpu(facts, padded=padded), Chunker(WordTokenizer(folder), facts.max_tokens, truncate=True)(TEXTS).ids()
    )


def theirs(folder: Path) -> np.ndarray:
    """What sentence-transformers makes of the same texts, cut where ours are."""
    from sentence_transformers import SentenceTransformer

    facts = read_facts(folder)
    chunks = Chunker(WordTokenizer(folder), facts.max_tokens, truncate=True)(TEXTS)
    model = SentenceTransformer(str(folder), device="cpu")
    return model.encode([text[:end] for text, end in zip(TEXTS, chunks.end, strict=True)], prompt="")


@pytest.mark.heavy
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("mode", [*POOLINGS, ["cls", "mean", "max"]])
def test_pooling(folder: Path, mode: str | list[str], padded: bool) -> None:
    """Every pooling, and several side by side, gives sentence-transformers' vectors."""
    pooled_by(folder, pooling_mode=mode)
    vectors = ours(folder, padded=padded)
    assert vectors.shape[1] == read_facts(folder).dim == (96 if isinstance(mode, list) else 32)
    np.testing.assert_allclose(vectors, theirs(folder), atol=2e-5)


def test_poolings_differ() -> None:
    """On rows that differ, no two poolings agree: a pooling that is mistaken for another cannot go unnoticed."""
    hidden, edges = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 5, 9])
    pooled = [pool(hidden, edges.int(), mode, left_out) for mode in POOLINGS for left_out in (0, 2)]
    same = [(i, j) for i, a in enumerate(pooled) for j, b in enumerate(pooled[:i]) if torch.allclose(a, b)]
    assert same == [(5, 4)]  # the last token, whatever is left out before it


def test_legacy_flags_keep_their_order(folder: Path) -> None:
    """Several old flags are several vectors side by side, in sentence-transformers' order."""
    pooled_by(folder, pooling_mode_mean_tokens=True, pooling_mode_max_tokens=True, pooling_mode_cls_token=True)
    assert read_facts(folder).pooling == "cls+max+mean"
    np.testing.assert_allclose(ours(folder), theirs(folder), atol=2e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("layout", ["DN", "DDN", "NDD", "DND", "D"])
def test_dense_and_normalize_in_their_order(folder: Path, layout: str) -> None:
    """Dense modules, one or several, with and without a bias, and Normalize wherever it stands."""
    sizes = [32, 48, 16]
    for nth, kind in enumerate(layout):
        n = layout[:nth].count("D")
        add_dense(folder, sizes[n], sizes[n + 1], bias=n == 0) if kind == "D" else add_dense(folder)
    facts = read_facts(folder)
    assert (facts.dim, facts.normalize) == (sizes[layout.count("D")], layout[-1] == "N")
    for padded in (False, True):
        np.testing.assert_allclose(ours(folder, padded=padded), theirs(folder), atol=2e-5)


def test_dense_forgotten_would_show(folder: Path) -> None:
    """A square Dense, which no dimension betrays, moves the vectors far."""
    before = ours(folder)
    add_dense(folder, 32, 32)
    assert (cosines(ours(folder), before) < 0.9).all()


def test_dense_is_part_of_the_space(folder: Path) -> None:
    """Other weights of a Dense module are another space."""
    add_dense(folder, 32, 16)
    before = space_record(read_facts(folder))
    file = folder / "2_Dense/model.safetensors"
    save_file({name: 2 * weight for name, weight in load_file(file).items()}, file)
    assert space_record(read_facts(folder)) != before


@pytest.mark.heavy
def test_same_bits_through_dense_in_any_batch(folder: Path) -> None:
    """A Dense product has so many rows whatever the batch, so a vector's bits do not depend on its neighbours."""
    add_dense(folder, 32, 48)
    encoder = on_cpu(read_facts(folder))
    ids = Chunker(WordTokenizer(folder), 32)(TEXTS).ids() * 9
    together = encode(encoder, ids)
    assert np.concatenate([encode(encoder, [i]) for i in ids]).tobytes() == together.tobytes()


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"activation_function": "evil.Thing"}, "activation evil.Thing is not supported"),
        ({"activation_function": "torch.nn.Linear"}, "activation torch.nn.Linear is not supported"),
        ({"in_features": 31}, "takes vectors of 31 numbers, but the module before it gives 32"),
        ({"out_features": 17}, r"linear.weight has shape \(16, 32\)"),
        ({"use_residual": True}, "residual"),
    ],
)
def test_odd_dense(folder: Path, changes: dict[str, object], phrase: str) -> None:
    """A Dense module that is not as its files say, or not supported, is a model error."""
    add_dense(folder, 32, 16)
    edit(folder, "2_Dense/config.json", **changes)
    with pytest.raises(ModelError, match=phrase):
        on_cpu(read_facts(folder))


@pytest.mark.parametrize("damage", ["missing", "pickle", "cut", "nan", "no bias"])
def test_broken_dense_weights(folder: Path, damage: str) -> None:
    """Weights of a Dense module that are missing, pickled, cut short, NaN or incomplete are one clear sentence."""
    add_dense(folder, 32, 16)
    file = folder / "2_Dense/model.safetensors"
    weights = load_file(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:99])
    elif damage == "nan":
        save_file(weights | {"linear.bias": torch.full((16,), torch.nan)}, file)
    elif damage == "no bias":
        save_file({"linear.weight": weights["linear.weight"]}, file)
    else:
        file.rename(file.with_name("pytorch_model.bin" if damage == "pickle" else "elsewhere"))
    phrase = {"missing": r"lacks model\.safetensors, the Dense", "pickle": "bin is a pickle", "cut": "cannot be read"}
    with pytest.raises(ModelError, match=phrase.get(damage, "linear.bias (holds|is missing)")):
        on_cpu(read_facts(folder))
