"""The self-test: what it lets pass, what it catches, and what is done then."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from embed_corpus.engine import attention
from embed_corpus.engine.attention import attend
from embed_corpus.engine.encoder import untested
from embed_corpus.engine.families import bert, qwen3
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.engine.padded import PaddedLayers
from embed_corpus.engine.ready import get_ready
from embed_corpus.engine.selftest import SelfTest, self_test
from embed_corpus.errors import ModelError
from embed_corpus.model.facts import read_facts
from kit.batches import cosines, encode, random_ids
from kit.encoders import loaded_on_cpu, on_cpu
from kit.tiny import edit, save_model, wordpiece

IDS = random_ids([40, 64, 7, 33])


def loaded(folder: Path, precision: str = "fp32") -> LoadedModel:
    """The model on the CPU."""
    return loaded_on_cpu(read_facts(folder), precision)


def expected_of(folder: Path) -> np.ndarray:
    """Its vectors of `IDS`."""
    return encode(on_cpu(read_facts(folder)), IDS)


def seen_in(model: LoadedModel, *, compiled: bool = True) -> SelfTest:
    """What the self-test sees of the packed path."""
    return self_test(model, untested(model, compiled=compiled))


def leaky(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **options: Any) -> torch.Tensor:
    """Attention over the whole batch, as if it were one text."""
    n = len(query)
    return attend(query, key, value, torch.tensor([0, n], dtype=torch.int32), n, None, **options)


def assert_padded(model: LoadedModel, problem: str, expected: np.ndarray, *, compiled: bool = True) -> None:
    """Getting ready meets the problem, takes the padded path, says both, and then the vectors are right."""
    assert problem in seen_in(model, compiled=compiled).problem
    encoder, (note,), _ = get_ready(model, compiled=compiled)
    assert note.startswith("texts are padded, which is slower: ")
    assert problem in note
    assert isinstance(encoder.forward, PaddedLayers)
    assert (cosines(encode(encoder, IDS), expected) >= 0.99999).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_sound_model(model: Path, compiled: bool) -> None:
    """A sound model passes, to the bit, and keeps its path without a note."""
    sound = loaded(model)
    test = seen_in(sound, compiled=compiled)
    assert (test.problem, test.exact) == ("", True)
    assert test.cosine >= 0.99999
    encoder, notes, _ = get_ready(sound, compiled=compiled)
    assert notes == ()
    assert encoder.forward.name == sound.packed(compiled=compiled).name


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision(model: Path, precision: str) -> None:
    """In half precision sound models pass too."""
    assert seen_in(loaded(model, precision)).problem == ""


@pytest.mark.parametrize("compiled", [True, False])
def test_texts_that_see_each_other(model: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    """Attention that ignores where a text ends is caught."""
    expected = expected_of(model)
    for module in (bert, qwen3) if compiled else (attention,):
        monkeypatch.setattr(module, "attend", leaky)
    problem = "to the padded model, 0.99999 is the least allowed"
    assert_padded(loaded(model), problem, expected, compiled=compiled)


@pytest.mark.parametrize("compiled", [True, False])
def test_wrong_positions(tiny_roberta: Path, compiled: bool) -> None:
    """Positions that begin elsewhere than the model's are caught."""
    model, expected = loaded(tiny_roberta), expected_of(tiny_roberta)
    model.runner._offset = 0
    assert_padded(model, "to the padded model, 0.99999 is the least allowed", expected, compiled=compiled)


def test_layer_with_attention_of_its_own(tiny_decoder: Path) -> None:
    """A layer that does not call the attention it is given is caught, even if it harmed nothing."""
    model, expected = loaded(tiny_decoder), expected_of(tiny_decoder)
    stray = copy.copy(model.module.config)
    stray._attn_implementation = "sdpa"
    model.module.layers[1].self_attn.config = stray
    assert_padded(model, "only 1 of 2 layers use the attention they are given", expected, compiled=False)


@pytest.mark.parametrize("window", [16, 100])
def test_window_that_is_ignored(
    tiny_decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    """A sliding window is kept; attention that ignores it is caught."""
    model = windowed(tiny_decoder, tmp_path, window)
    assert seen_in(model).problem == ""
    expected = encode(untested(model), IDS)
    monkeypatch.setattr(attention, "attend", lambda *args, **options: attend(*args, **options | {"window": None}))
    assert_padded(windowed(tiny_decoder, tmp_path, window), "to the padded model", expected)


def windowed(model: Path, folder: Path, window: int) -> LoadedModel:
    """The decoder with a sliding window in all its layers, which has no fused form."""
    for file in model.rglob("*.*"):
        copied = folder / file.relative_to(model)
        copied.parent.mkdir(exist_ok=True)
        copied.write_bytes(file.read_bytes())
    windows = {"use_sliding_window": True, "sliding_window": window, "max_window_layers": 0}
    edit(folder, "config.json", **windows, layer_types=["sliding_attention"] * 2)
    return loaded(folder)


def test_architecture_without_interface(tiny_mpnet: Path) -> None:
    """A model that computes its attention itself is known by name, before anything is run."""
    test = seen_in(loaded(tiny_mpnet))
    assert (test.problem, test.exact) == ("architecture 'mpnet' computes its attention itself", False)


@pytest.mark.parametrize("compiled", [True, False])
def test_vectors_that_are_no_numbers(tiny_model: Path, compiled: bool) -> None:
    """A path whose vectors are NaN does not pass for a sound one."""
    model = loaded(tiny_model)
    encoder = untested(model, compiled=compiled)
    forward = encoder.forward

    def broken(packed: Any) -> torch.Tensor:
        return forward(packed) * torch.nan

    broken.name, broken.layout, broken.pools = forward.name, forward.layout, forward.pools
    encoder.forward = broken
    assert "cosine nan to the padded model" in self_test(model, encoder).problem


def save_tiny(folder: Path, config: Any, texts: list[str]) -> Path:
    """A random model of some configuration, with the first token as its vector."""
    torch.manual_seed(0)
    kind = transformers.MODEL_MAPPING[type(config)]
    return save_model(folder, kind(config).eval(), wordpiece(texts), pooling="lasttoken")


def test_a_model_that_wants_more_of_attention_is_padded(tmp_path: Path, texts: list[str]) -> None:
    """Soft caps, sinks and the like fail in the self-test, not in the first batch; padded, the vectors are right."""
    config = transformers.Gemma2Config(
        vocab_size=2000, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        head_dim=16, intermediate_size=64, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    encoder, (note,), _ = get_ready(loaded(save_tiny(tmp_path, config, texts)))
    assert "softcap" in note
    assert encoder.padded
    assert np.isfinite(encode(encoder, random_ids([5, 40]))).all()


def test_a_model_that_fails_padded_too_is_refused(tmp_path: Path, texts: list[str]) -> None:
    """An encoder-decoder wants more than token ids: it is refused by name, before the first batch."""
    config = transformers.LongT5Config(
        vocab_size=2000, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    model = loaded(save_tiny(tmp_path, config, texts))
    with pytest.raises(ModelError, match="architecture 'longt5' is not supported: even padded texts fail"):
        get_ready(model)
