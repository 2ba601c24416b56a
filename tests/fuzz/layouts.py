"""Layouts of model folders, tiny and random: twelve of one Transformer, and those that have more or none."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from kit.tiny import add_dense, edit
from parity.zoo import ZOO, build

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


def _own_folder(folder: Path) -> None:
    """The Transformer lies in a folder of its own, as the first versions had it."""
    (folder / "0_Transformer").mkdir()
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(folder / "0_Transformer" / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))


def _save(folder: Path, modules: list[object]) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize

    prompts = {"query": "question: ", "document": "text: "}
    model = SentenceTransformer(modules=[*modules, Normalize()], device="cpu", prompts=prompts)
    shutil.rmtree(folder)
    model.save_pretrained(str(folder), create_model_card=False)


def _table(folder: Path) -> object:
    """A table for the folder's tokenizer."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = torch.randn(tokenizer.get_vocab_size(), 32, generator=torch.Generator().manual_seed(0))
    return StaticEmbedding(tokenizer, embedding_weights=rows)


def _static(folder: Path) -> None:
    _save(folder, [_table(folder)])
    _own_folder(folder)


def _router(folder: Path, *, table: bool) -> None:
    """Documents go through the Transformer, queries through a copy with other weights, or a table."""
    from sentence_transformers.sentence_transformer.modules import Pooling, Router, Transformer

    documents, queries = (Transformer(str(folder)) for _ in range(2))
    with torch.no_grad():
        for weight in queries.parameters():
            weight.mul_(0.9)
    asked = [_table(folder)] if table else [queries, Pooling(32, "mean")]
    _save(folder, [Router.for_query_document(asked, [documents, Pooling(32, "cls")])])


def _lora(folder: Path) -> None:
    """A LoRA adapter beside the weights."""
    names = [f"encoder.layer.{i}.attention.self.{name}" for i in (0, 1) for name in ("query", "value")]
    dice = torch.Generator().manual_seed(1)
    tensors = {
        f"base_model.model.{name}.lora_{side}.weight": torch.randn(shape, generator=dice) / 3
        for name in names
        for side, shape in (("A", (4, 32)), ("B", (32, 4)))
    }
    save_file(tensors, folder / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["query", "value"], "bias": "none"}
    said |= {"base_model_name_or_path": str(folder), "use_rslora": False, "task_type": "FEATURE_EXTRACTION"}
    (folder / "adapter_config.json").write_text(json.dumps(said))


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
    "0-transformer": ("bert", _own_folder),
    "static": ("bert", _static),
    "router": ("bert", partial(_router, table=False)),
    "router-table": ("bert", partial(_router, table=True)),
}
if importlib.util.find_spec("peft"):  # without it nothing is to be compared with
    LAYOUTS["lora"] = ("bert", _lora)


def make(name: str, folder: Path, trained: Trained) -> Path:
    """Save a layout's model."""
    breed, then = LAYOUTS[name]
    build(breed, folder, trained(ZOO[breed].kind))
    then(folder)
    return folder
