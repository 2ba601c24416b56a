"""Architectures that embedding models are built on, tiny and random, with the tokenizer and pooling they have."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer

from kit.tiny import edit, save_model
from parity.kinds import KINDS

LIMIT = 2048
SIZES = {
    "vocab_size": 2300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.2,  # large enough for a wrong mask, position or pooling to move the vectors
    "max_position_embeddings": LIMIT,
}
_KEYS = SIZES | {"num_key_value_heads": 2, "head_dim": 8}
_SLIDING = {"use_sliding_window": True, "sliding_window": 40, "max_window_layers": 1}
_GEMMA = _KEYS | {"sliding_window": 40, "layer_types": ["sliding_attention", "full_attention"]}
_BEHIND = {"max_position_embeddings": LIMIT + 2, "pad_token_id": 1}


@dataclass(frozen=True)
class Breed:
    """An architecture: configuration class, its values, tokenizer, pooling, and whether it runs packed.

    `also` are fields put into config.json after saving.
    """

    config: str
    sizes: dict[str, Any]
    kind: str
    pooling: str = "mean"
    packed: bool = True
    also: dict[str, Any] = field(default_factory=dict)


ZOO = {
    "bert": Breed("BertConfig", SIZES, "wordpiece", "cls"),
    "bert-cased": Breed("BertConfig", SIZES, "cased"),
    "roberta": Breed("RobertaConfig", SIZES | _BEHIND, "roberta"),
    "xlm-roberta": Breed("XLMRobertaConfig", SIZES | _BEHIND, "xlmr", "cls"),
    "camembert": Breed("CamembertConfig", SIZES | _BEHIND, "prefixed"),
    "distilbert": Breed(
        "DistilBertConfig",
        {"vocab_size": 2300, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "initializer_range": 0.2}
        | {"max_position_embeddings": LIMIT},
        "wordpiece",
    ),
    "electra": Breed("ElectraConfig", SIZES | {"embedding_size": 16}, "wordpiece"),
    "ernie": Breed("ErnieConfig", SIZES, "wordpiece", "cls"),
    "albert": Breed("AlbertConfig", SIZES | {"embedding_size": 16}, "albert"),
    "modernbert": Breed(
        "ModernBertConfig",
        SIZES
        | {"num_hidden_layers": 4, "local_attention": 32, "global_attn_every_n_layers": 3, "pad_token_id": 0}
        | {"initializer_cutoff_factor": 3.0},
        "neox",
        "cls",
    ),
    "nomic_bert": Breed("NomicBertConfig", SIZES, "wordpiece"),
    "eurobert": Breed("EuroBertConfig", _KEYS | {"pad_token_id": 0}, "llama3"),
    "mpnet": Breed("MPNetConfig", SIZES | _BEHIND, "wordpiece", packed=False),
    "deberta-v2": Breed(
        "DebertaV2Config",
        SIZES
        | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
        | {
            "type_vocab_size": 0,
            "num_attention_heads": 2,
            "position_buckets": 64,
            "share_att_key": True,
            "norm_rel_ebd": "layer_norm",
        },
        "deberta",
        packed=False,
    ),
    "t5": Breed(
        "T5Config",
        {"vocab_size": 2300, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
        | {"initializer_factor": 3.0, "decoder_start_token_id": 0},
        "t5",
        packed=False,
    ),
    "qwen3": Breed("Qwen3Config", _KEYS, "qwen", "lasttoken"),
    "qwen2": Breed("Qwen2Config", _KEYS | _SLIDING, "qwen", "lasttoken"),
    "qwen2-bidirectional": Breed("Qwen2Config", _KEYS, "qwen", "lasttoken", also={"is_causal": False}),
    "qwen3-bidirectional": Breed("Qwen3Config", _KEYS, "qwen", also={"is_causal": False}),
    "mistral": Breed("MistralConfig", _KEYS | {"sliding_window": 40}, "llama2", "lasttoken"),
    "llama": Breed("LlamaConfig", _KEYS, "llama3", "weightedmean"),
    "gemma3-causal": Breed("Gemma3TextConfig", _GEMMA, "gemma", "lasttoken"),
    "embedding-gemma": Breed("Gemma3TextConfig", _GEMMA | {"use_bidirectional_attention": True}, "gemma"),
}


def build(name: str, folder: Path, tokenizer: Tokenizer) -> Path:
    """Save a random model of this breed as sentence-transformers lays one out."""
    breed = ZOO[name]
    torch.manual_seed(0)
    config = getattr(transformers, breed.config)(**breed.sizes)
    for key in ("eos_token_id", "bos_token_id"):  # defaults beyond our small vocabularies
        if getattr(config, key, None) is not None and config.model_type != "t5":
            setattr(config, key, None)
    kind = transformers.T5EncoderModel if config.model_type == "t5" else transformers.MODEL_MAPPING[type(config)]
    model = kind(config).eval()
    widen(model)
    save_model(folder, model, tokenizer, pooling=f"{breed.pooling}_tokens", max_length=LIMIT)
    edit(folder, "1_Pooling/config.json", pooling_mode=breed.pooling)
    edit(folder, "tokenizer_config.json", tokenizer_class=KINDS[breed.kind].cls, **KINDS[breed.kind].roles)
    if breed.also:
        edit(folder, "config.json", **breed.also)
    return folder


def widen(model: torch.nn.Module) -> None:
    """Draw biases and norms at random, too: transformers begins with 0 and 1, which hides what is added wrongly."""
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            torch.nn.init.normal_(weight, 0.0 if "bias" in name else 1.0, 0.1)
