"""transformers' layers, each traced whole (`fullgraph`) around our attention kernel, as on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from embed_corpus.engine.encoder import untested
from embed_corpus.engine.forward import ModelLayers
from embed_corpus.model.facts import read_facts
from kit.batches import encode, random_ids
from kit.encoders import loaded_on_cpu
from kit.tiny import save_model, wordpiece

pytest.importorskip("triton")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, in the interpreter, about masked lanes
SIZES = {"vocab_size": 2000, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0}
TOKENS = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
CONFIGS = [
    transformers.ModernBertConfig(**SIZES, **TOKENS, intermediate_size=64, local_attention=16),
    transformers.GPTNeoXConfig(**SIZES, intermediate_size=64),  # hands over heads that are not side by side
]


@pytest.mark.heavy
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_same_vectors_as_uncompiled(
    config: Any, tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One graph a layer, no break; text capacities and tiles filled up; windows and all strides of heads."""
    compile_layer = torch.nn.Module.compile
    monkeypatch.setattr(  # the tracing is what is tested: what a backend makes of the graph is torch's affair
        torch.nn.Module, "compile", lambda layer, **options: compile_layer(layer, backend="eager", **options)
    )
    torch.manual_seed(0)
    model = transformers.MODEL_MAPPING[type(config)](config).eval()
    loaded = loaded_on_cpu(read_facts(save_model(tmp_path, model, wordpiece(texts))))
    encoder = untested(loaded)
    ids = random_ids([5, 40, 1, 33])
    expected = encode(encoder, ids)
    encoder.forward = ModelLayers(loaded.module, 64, compiled=True)
    np.testing.assert_allclose(encode(encoder, ids), expected, atol=2e-6)
