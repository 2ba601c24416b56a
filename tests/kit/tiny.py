"""Tiny real tokenizers and model folders, made on the spot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SIZES = {
    "vocab_size": 2000,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "initializer_range": 0.2,  # large enough for texts that see each other to move the vectors
}
SAMPLES = Path(__file__).parents[2] / "data" / "samples"
CORPUS = SAMPLES / "corpus"
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

Command = Callable[..., subprocess.CompletedProcess[str]]


def wordpiece(texts: list[str]) -> Tokenizer:
    """A BERT tokenizer trained on the spot: [CLS] … [SEP]."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        texts, trainers.WordPieceTrainer(vocab_size=2000, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def byte_bpe(texts: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer as Qwen's, trained on the spot: … <|endoftext|>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=2000, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", 0)]
    )
    return tokenizer


def unigram(texts: list[str]) -> Tokenizer:
    """A SentencePiece-like Unigram tokenizer as XLM-R's, trained on the spot: <s> … </s>."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        texts,
        trainers.UnigramTrainer(vocab_size=2000, special_tokens=special, unk_token="<unk>", show_progress=False),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def save_model(
    folder: Path,
    model: torch.nn.Module,
    tokenizer: Tokenizer,
    *,
    pooling: str = "mean_tokens",
    normalize: bool = True,
    max_length: int = 64,
    prompts: dict[str, str] | None = None,
) -> Path:
    """Save a model the way sentence-transformers lays one out."""
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"} if tokenizer.token_to_id("[PAD]") is not None else {}
    files = {
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_length,
            "pad_token": special.get("pad_token", "<|endoftext|>"),
        },
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            *(
                [{"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]
                if normalize
                else []
            ),
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": model.config.hidden_size,
            **{f"pooling_mode_{m}": m == pooling for m in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")},
        },
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": prompts or {}, "similarity_fn_name": "cosine"},
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def add_dense(folder: Path, n_in: int = 0, n_out: int = 0, *, bias: bool = True) -> None:
    """Put a Dense module with tanh behind a model's last, or (without dimensions) a Normalize module."""
    modules = json.loads((folder / "modules.json").read_text())
    kind = "Dense" if n_in else "Normalize"
    path = f"{len(modules)}_{kind}"
    modules.append({"idx": len(modules), "name": path, "path": path, "type": f"sentence_transformers.models.{kind}"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / path).mkdir()
    if n_in:
        dice = torch.Generator().manual_seed(len(modules))
        weights = {"linear.weight": torch.randn(n_out, n_in, generator=dice) / 4}
        if bias:
            weights["linear.bias"] = torch.randn(n_out, generator=dice) / 4
        save_file(weights, folder / path / "model.safetensors")
        config = {"in_features": n_in, "out_features": n_out, "bias": bias}
        activation = "torch.nn.modules.activation.Tanh" if bias else "torch.nn.modules.linear.Identity"
        (folder / path / "config.json").write_text(json.dumps(config | {"activation_function": activation}))


def edit(folder: Path, name: str, **changes: object) -> None:
    """Change some fields of a model's JSON file."""
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | changes))
