"""A tiny model of RoBERTa's family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tiny import edit, save_model, unigram

Ids = list[NDArray[np.int32]]


@pytest.fixture(scope="module")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A one-layer random RoBERTa, whose positions count from 2 on, with CLS pooling; 64 tokens at most."""
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=2000,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    folder = tmp_path_factory.mktemp("roberta")
    save_model(folder, RobertaModel(config).eval(), unigram(texts), pooling="cls_token", normalize=False)
    edit(folder, "tokenizer_config.json", pad_token="<pad>")
    return folder
