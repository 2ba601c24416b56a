"""Twelve layouts of model folders, tiny and random."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tokenizers import Tokenizer

from parity.zoo import ZOO, build
from tiny import add_dense, edit

Trained = Callable[[str], Tokenizer]


def _plain(_: Path) -> None: ...


def _uncased(folder: Path) -> None:
    edit(folder, "sentence_bert_config.json", do_lower_case=True)
    edit(folder, "tokenizer_config.json", do_lower_case=True, strip_accents=None, tokenize_chinese_chars=True)


def _two_poolings(folder: Path) -> None:
    edit(folder, "1_Pooling/config.json", pooling_mode=["mean", "max"])


def _dense(folder: Path) -> None:
    add_dense(folder, 32, 48)
    add_dense(folder, 48, 16, bias=False)
    add_dense(folder)


def _prompts(folder: Path) -> None:
    prompts = {"query": "Instruct: find\nQuery: ", "document": "title: none | text: "}
    edit(folder, "config_sentence_transformers.json", prompts=prompts, default_prompt_name=None)


def _older(folder: Path) -> None:
    """As the first versions saved it."""
    (folder / "sentence_bert_config.json").rename(folder / "sentence_distilbert_config.json")
    (folder / "config_sentence_transformers.json").unlink()
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    pooling = {f"pooling_mode_{mode}": mode == "cls_token" for mode in modes}
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32} | pooling))
    names = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    (folder / "special_tokens_map.json").write_text(json.dumps(names | {"additional_special_tokens": ["[unused0]"]}))
    (folder / "added_tokens.json").write_text(json.dumps({"[NEW]": 1500}))


def _newest(folder: Path) -> None:
    """As sentence-transformers saves it now."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    shutil.rmtree(folder)
    model.save_pretrained(str(folder))


LAYOUTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "bert": ("bert", _plain),
    "bert-uncased": ("bert", _uncased),
    "bert-older": ("bert", _older),
    "bert-newest": ("bert-cased", _newest),
    "roberta": ("roberta", _two_poolings),
    "xlm-roberta-dense": ("xlm-roberta", _dense),
    "mpnet": ("mpnet", _plain),
    "distilbert-older": ("distilbert", _older),
    "modernbert-newest": ("modernbert", _newest),
    "qwen3-prompts": ("qwen3", _prompts),
    "t5-dense": ("t5", _dense),
    "embedding-gemma-newest": (
        "embedding-gemma",
        lambda folder: (_dense(folder), _prompts(folder), _newest(folder))[0],
    ),
}


def make(name: str, folder: Path, trained: Trained) -> Path:
    """Save a layout's model."""
    breed, then = LAYOUTS[name]
    build(breed, folder, trained(ZOO[breed].kind))
    then(folder)
    return folder
