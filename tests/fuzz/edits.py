"""Random edits of a model folder's files and keys."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TOKEN = {"content": "[NEW]", "lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
_KEYS: dict[str, dict[str, list[Any]]] = {
    "sentence_": {
        "max_seq_length": [8, 32, 4096, None, 0, -1, "64", 12.0, True],
        "do_lower_case": [True, False, None, "false"],
        "config_args": [{"num_hidden_layers": 1}, {"trust_remote_code": True}, {}, {"is_decoder": True}],
        "config_kwargs": [{"hidden_act": "relu"}, {"use_cache": True}],
        "tokenizer_args": [{"do_lower_case": False}, {"add_prefix_space": True}, {"model_max_length": 16}],
        "processor_kwargs": [
            {"strip_accents": False},
            {"truncation_side": "left"},
            {"additional_special_tokens": ["heat"]},
        ],
        "model_args": [{"trust_remote_code": True}, {"add_pooling_layer": False}, {"attn_implementation": "eager"}],
        "model_kwargs": [{"num_labels": 3}, {"torch_dtype": "float32"}],
        "transformer_task": ["feature-extraction", "fill-mask", "text-generation"],
        "modality_config": [
            {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            {"text": {"method": "forward", "method_output_name": ["hidden_states", -2]}},
            {
                "text": {"method": "forward", "method_output_name": "last_hidden_state"},
                "message": {"method": "forward"},
            },
            {},
        ],
        "module_output_name": ["token_embeddings", "sentence_embedding", None],
        "processing_kwargs": [
            {"text": {"add_special_tokens": False}},
            {"text": {"max_length": 6}},
            {"text": {"padding": "max_length", "truncation": True}},
            {"common": {"return_tensors": "pt"}},
            {"text": {"padding": True}},
        ],
        "document_length": [6, None, 4096],
        "query_length": [6, None],
        "query_expansion": [None, {"strategy": "fixed", "length": 16, "token": "[PAD]"}],
        "unpad_inputs": [True, False, None],
        "tokenizer_name_or_path": [None, "bert-base-uncased"],
    },
    "tokenizer_config.json": {
        "do_lower_case": [True, False],
        "strip_accents": [True, False, None],
        "tokenize_chinese_chars": [False, True],
        "truncation_side": ["left", "right", "middle"],
        "padding_side": ["left", "right"],
        "model_max_length": [8, 64, 10**30, None, "32"],
        "additional_special_tokens": [["[unused0]"], ["heat"], ["[NEW]", "plate flow"], [_TOKEN]],
        "extra_special_tokens": [["[unused0]"], {"image_token": "[NEW]"}, []],
        "added_tokens_decoder": [{"7": _TOKEN | {"special": True}}, {"1500": _TOKEN | {"special": False}}, {}],
        "mask_token": ["[NEW]", "[MASK]", {"__type": "AddedToken", **_TOKEN}],
        "pad_token": ["[PAD]", "<pad>", "heat", None],
        "cls_token": ["[NEW]", "the"],
        "bos_token": ["heat"],
        "eos_token": ["flow", "</s>"],
        "tokenizer_class": [
            "BertTokenizer",
            "PreTrainedTokenizerFast",
            "XLMRobertaTokenizer",
            "Qwen2Tokenizer",
            "Odd",
            None,
        ],
        "add_prefix_space": [True, False],
        "add_bos_token": [True],
        "add_eos_token": [True, False],
        "split_special_tokens": [True, False],
        "model_input_names": [["input_ids"], ["input_ids", "attention_mask"]],
        "clean_up_tokenization_spaces": [True],
        "legacy": [True, False],
        "use_default_system_prompt": [False],
        "chat_template": ["{{ messages[0].content }}"],
        "processor_class": ["CLIPProcessor", None],
    },
    "config.json": {
        "is_decoder": [True, False],
        "position_embedding_type": ["relative_key", "absolute"],
        "hidden_act": ["relu", "gelu", "gelu_new", "silu"],
        "layer_norm_eps": [1e-5, 0.1],
        "rms_norm_eps": [0.1],
        "layer_norm_epsilon": [0.1],
        "num_hidden_layers": [1, 2, 3],
        "num_attention_heads": [2, 4, 8],
        "num_key_value_heads": [2, 4],
        "max_position_embeddings": [32, 2048, 4096],
        "pad_token_id": [0, 1, 2, 40, None],
        "type_vocab_size": [0, 1, 2],
        "vocab_size": [100, 2300],
        "is_causal": [False, True],
        "sliding_window": [8, None],
        "local_attention": [8, 128],
        "rope_theta": [100.0],
        "rope_parameters": [{"rope_type": "default", "rope_theta": 500.0}],
        "attention_bias": [True],
        "tie_word_embeddings": [False],
        "use_bidirectional_attention": [True, False],
        "use_cache": [True],
        "output_hidden_states": [True],
        "return_dict": [False],
        "model_type": ["bert", "roberta", "distilbert", "odd"],
        "architectures": [["BertForMaskedLM"], []],
        "chunk_size_feed_forward": [4],
        "quantization_config": [{"quant_method": "bitsandbytes", "load_in_8bit": True}],
        "auto_map": [{"AutoModel": "modeling.X"}],
        "embedding_size": [16],
        "add_cross_attention": [True],
    },
    "config_sentence_transformers.json": {
        "prompts": [
            {"document": "d: "},
            {"query": "q: ", "passage": "p: "},
            {"document": None},
            None,
            {"corpus": "c: "},
        ],
        "default_prompt_name": ["query", None, "odd"],
        "truncate_dim": [8, 1000, None],
        "similarity_fn_name": ["dot", "cosine", "maxsim", None],
        "model_type": ["SentenceTransformer", "SparseEncoder", "CrossEncoder"],
        "requirements": [[], ["odd-package>=3"]],
    },
    "modules.json": {
        "type": ["sentence_transformers.models.Pooling", "sentence_transformers.models.LSTM", "own.Transformer"],
        "path": ["", "1_Pooling", "nowhere", None],
        "name": ["0", "1"],
        "kwargs": [[], ["task"]],
        "idx": [5],
    },
    "Pooling/config.json": {
        "pooling_mode": ["cls", "mean", "max", ["cls", "mean"], "lasttoken", "weightedmean", "odd", []],
        "pooling_mode_cls_token": [True],
        "pooling_mode_max_tokens": [True],
        "include_prompt": [False, True],
        "word_embedding_dimension": [32, 16],
        "embedding_dimension": [32, 64],
    },
    "Dense/config.json": {
        "activation_function": ["torch.nn.modules.linear.Identity", "torch.nn.ReLU", "odd.Act", "torch.nn.GELU", None],
        "bias": [True, False],
        "use_residual": [True, False],
        "module_input_name": ["token_embeddings", "sentence_embedding"],
        "in_features": [32, 33],
    },
    "tokenizer.json": {
        "truncation": [{"direction": "Left", "max_length": 8, "strategy": "LongestFirst", "stride": 0}, None],
        "padding": [
            {"strategy": {"Fixed": 12}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0}
            | {"pad_token": "[PAD]"}
        ],
        "normalizer": [None, {"type": "Lowercase"}, {"type": "NFKC"}],
        "post_processor": [None],
        "added_tokens": [[], [{"id": 1501} | _TOKEN | {"special": True, "content": "heat"}]],
    },
    "special_tokens_map.json": {
        "additional_special_tokens": [["heat"], ["[unused0]", "[NEW]"]],
        "cls_token": ["[NEW]", {"content": "[CLS]", "lstrip": False, "normalized": False, "rstrip": False}],
        "odd_token": ["flow"],
    },
    "adapter_config.json": {
        "r": [4, 2, 8, "4", 0],
        "lora_alpha": [8, 1, 0.5, None, "8"],
        "use_rslora": [True, False],
        "use_dora": [True, False],
        "target_modules": [["query"], ["query", "value", "key"], "all-linear", r".*\.query", [], ["odd"]],
        "exclude_modules": [["query"], None, ["encoder.layer.0.attention.self.value"]],
        "layers_to_transform": [0, [1], [], None],
        "rank_pattern": [{"query": 2}, {}],
        "alpha_pattern": [{"layer.0.attention.self.query": 32}, {"value": 1}, None],
        "bias": ["all", "lora_only", "none"],
        "fan_in_fan_out": [True, False],
        "modules_to_save": [["pooler"], None],
        "peft_type": ["IA3", "LORA", None],
        "inference_mode": [True, False],
        "init_lora_weights": [True, "pissa", "gaussian"],
        "task_type": ["SEQ_CLS", None],
        "base_model_name_or_path": [None, "odd/none"],
    },
    "router_config.json": {
        "parameters": [
            {"default_route": "query", "allow_empty_key": True},
            {"default_route": "document", "allow_empty_key": True, "route_mappings": {"('query', 'text')": "document"}},
            {"default_route": "document", "route_mappings": {"(None, None)": "query"}},
            {"default_route": "document", "route_mappings": {"(None, 'text')": "query", "('query', None)": "document"}},
            {"default_route": "document", "route_mappings": {"odd": "query"}},
            {"default_route": "odd"},
            {"default_route": None, "allow_empty_key": False},
            {"odd": 1},
            {},
            None,
        ],
        "structure": [{}, {"document": []}, {"text": ["odd"]}],
        "types": [{}],
    },
    "added_tokens.json": {"heat": [7], "[NEW]": [1600, 9999], "Flow": [1501]},
}
_ODD: list[Any] = [None, True, False, 0, -1, 1.5, 7, "", "odd", [], {}, ["x"], {"a": 1}, 10**12]
_FILES = {
    "special_tokens_map.json": json.dumps({"additional_special_tokens": ["[unused0]", "heat"]}),
    "added_tokens.json": json.dumps({"[NEW]": 1700}),
    "preprocessor_config.json": json.dumps({"processor_class": "CLIPProcessor"}),
    "processor_config.json": json.dumps({"image_size": 3}),
    "generation_config.json": json.dumps({"eos_token_id": 3}),
    "chat_template.jinja": "{{ messages[0].content }}",
    "vocab.txt": "[PAD]\nheat\n",
    "merges.txt": "h e\n",
    "pytorch_model.bin": "no pickle",
    "sentence_roberta_config.json": json.dumps({"max_seq_length": 9}),
    "sentence_xlnet_config.json": json.dumps({"max_seq_length": 9, "do_lower_case": True}),
    "README.md": "# A model",
    "notes.json": "[]",
    "model-00001-of-00002.safetensors": "",
    "model.safetensors.index.json": json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}}),
}
_IN_PLACE = [
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    b"<!DOCTYPE html><html>",
    b"",
    b"{}",
    b"[]",
    b"\xff\xfe{\0}\0",
]


def edit_once(folder: Path, dice: random.Random) -> str:
    """Make one random edit; returns what was done."""
    how: list[Callable[[Path, random.Random], str]] = [_known_key] * 12 + [_odd_value] * 3
    return dice.choice([*how, _unknown_key, _no_key, _no_key, _new_file, _new_file, _file, _file])(folder, dice)


def _jsons(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.json") if not file.name.endswith(".index.json"))


def _catalogue(folder: Path, file: Path) -> dict[str, list[Any]]:
    name = file.relative_to(folder).as_posix()
    if "/" in name:
        kind = name.split("/")[-2].split("_")[-1]
        name = file.name if kind in ("Transformer", "StaticEmbedding") else f"{kind}/{file.name}"
    return next(
        (keys for part, keys in _KEYS.items() if name == part or (part == "sentence_" and part in name[:9])), {}
    )


def _change(file: Path, dice: random.Random, change: Callable[[dict[str, Any]], str]) -> str:
    try:
        content = json.loads(file.read_text(encoding="utf8"))
    except ValueError:
        return f"{file.name}: no JSON any more"
    entry = dice.choice(content) if isinstance(content, list) and content else content
    if not isinstance(entry, dict):
        return f"{file.name}: holds no object"
    done = change(entry)
    file.write_text(json.dumps(content), encoding="utf8")
    return f"{file.parent.name}/{file.name}: {done}"


def _known_key(folder: Path, dice: random.Random) -> str:
    file = dice.choice([file for file in _jsons(folder) if _catalogue(folder, file)])
    name, values = dice.choice(list(_catalogue(folder, file).items()))
    value = dice.choice(values)
    return _change(file, dice, lambda entry: entry.update({name: value}) or f"{name} = {value!r}")


def _odd_value(folder: Path, dice: random.Random) -> str:
    def change(entry: dict[str, Any]) -> str:
        if not entry:
            return "empty"
        name = dice.choice(list(entry))
        entry[name] = dice.choice(_ODD)
        return f"{name} = {entry[name]!r}"

    return _change(dice.choice([f for f in _jsons(folder) if f.name != "tokenizer.json"]), dice, change)


def _unknown_key(folder: Path, dice: random.Random) -> str:
    name, value = dice.choice(["odd", "pooling", "normalize", "init_bias", "prefix_token"]), dice.choice(_ODD)
    return _change(
        dice.choice(_jsons(folder)), dice, lambda entry: entry.update({name: value}) or f"{name} = {value!r}"
    )


def _no_key(folder: Path, dice: random.Random) -> str:
    def change(entry: dict[str, Any]) -> str:
        name = dice.choice(list(entry) or [""])
        entry.pop(name, None)
        return f"without {name}"

    return _change(dice.choice(_jsons(folder)), dice, change)


def _new_file(folder: Path, dice: random.Random) -> str:
    name = dice.choice(list(_FILES))
    (folder / name).write_text(_FILES[name])
    return f"{name} written"


def _file(folder: Path, dice: random.Random) -> str:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    file, other = dice.choice(files), dice.choice(files)
    kind = dice.choice(["gone", "cut", "replaced", "renamed", "swapped"])
    if kind == "gone":
        file.unlink()
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif kind == "replaced":
        file.write_bytes(dice.choice(_IN_PLACE))
    elif kind == "renamed":
        file.rename(file.with_name(f"old-{file.name}"))
    else:
        one, two = file.read_bytes(), other.read_bytes()
        file.write_bytes(two)
        other.write_bytes(one)
        return f"{file.name} and {other.name} swapped"
    return f"{file.parent.name}/{file.name} {kind}"
