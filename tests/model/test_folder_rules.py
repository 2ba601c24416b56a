"""Every file and key of a model folder is obeyed, harmless or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from embed_corpus.errors import ModelError
from embed_corpus.job.fingerprint import space_record
from embed_corpus.model.facts import read_facts
from kit.encoders import on_cpu
from kit.tiny import add_dense, edit
from model_folders_page import PAGE, page

SETTINGS = "sentence_bert_config.json"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT to be edited."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "change", "phrase"),
    [
        (SETTINGS, {"config_args": {"num_hidden_layers": 1}}, "config_args.num_hidden_layers = 1 is not supported"),
        (SETTINGS, {"config_kwargs": {"is_decoder": True}}, "write what it says into config.json"),
        (SETTINGS, {"tokenizer_args": {"add_prefix_space": True}}, "into tokenizer_config.json"),
        (SETTINGS, {"transformer_task": "fill-mask"}, "transformer_task = 'fill-mask'"),
        (SETTINGS, {"modality_config": {"text": {"method_output_name": None}}}, "method_output_name = None"),
        (SETTINGS, {"modality_config": {"message": {"method": "forward"}}}, "chat template"),
        (SETTINGS, {"processing_kwargs": {"text": {"max_length": 8}}}, "put the smaller of it and max_seq_length"),
        (SETTINGS, {"processing_kwargs": {"common": {"padding": 3}}}, "processing_kwargs.common.padding = 3"),
        (SETTINGS, {"document_length": 8}, "document_length = 8"),
        (SETTINGS, {"max_seq_length": 0}, "max_seq_length = 0 in its files is no number of tokens"),
        (SETTINGS, {"never_heard_of": 1}, "never_heard_of is not supported: nothing is known of this key"),
        ("1_Pooling/config.json", {"pooling_head": "odd"}, "pooling_head is not supported"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "one vector a text"),
        ("config_sentence_transformers.json", {"post_scale": 2}, "post_scale is not supported"),
        ("config.json", {"quantization_config": {"quant_method": "awq"}}, "save the model with plain ones"),
        ("tokenizer_config.json", {"processor_class": "CLIPProcessor"}, "only plain tokenizers"),
        ("tokenizer_config.json", {"model_input_names": ["input_ids"]}, "a model needs input_ids and attention_mask"),
    ],
)
def test_refused(folder: Path, name: str, change: dict[str, Any], phrase: str) -> None:
    """A key that changes vectors and is not obeyed is refused, with file, key and what to do."""
    edit(folder, name, **change)
    with pytest.raises(ModelError, match=phrase.replace(".", r"\.")) as refused:
        read_facts(folder)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (SETTINGS, {"model_args": {"trust_remote_code": True}}),  # jina-embeddings-v2-base-de
        (SETTINGS, {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}),
        (SETTINGS, {"modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}}),
        (SETTINGS, {"processing_kwargs": {}, "unpad_inputs": True, "document_length": None}),
        (SETTINGS, {"config_kwargs": {}, "tokenizer_args": None}),
        ("config_sentence_transformers.json", {"default_prompt_name": "query", "model_type": "SentenceTransformer"}),
        ("tokenizer_config.json", {"padding_side": "left", "chat_template": "x", "clean_up_tokenization_spaces": True}),
        ("config.json", {"quantization_config": None, "use_cache": True}),
    ],
)
def test_harmless(folder: Path, name: str, change: dict[str, Any]) -> None:
    """What changes no vector passes, and changes no hash but that of config.json itself."""
    before = space_record(read_facts(folder)).to_json()
    edit(folder, name, **change)
    after = space_record(read_facts(folder)).to_json()
    assert {k: v for k, v in after.items() if k != "config"} == {k: v for k, v in before.items() if k != "config"}


def test_files_of_no_kind(folder: Path) -> None:
    """Files that nobody reads, and weights of other kinds beside ours, are no matter."""
    for name in ("pytorch_model.bin", "README.md", "notes.json", "onnx/model.onnx", "eval/results.csv", "vocab.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"anything")
    assert read_facts(folder).dim == 32


def test_dense_and_normalize(folder: Path) -> None:
    """A module that takes something else than the vector is refused."""
    add_dense(folder, 32, 16)
    edit(folder, "3_Dense/config.json", module_input_name="token_embeddings")
    with pytest.raises(ModelError, match="module_input_name = 'token_embeddings'"):
        read_facts(folder)
    edit(folder, "3_Dense/config.json", module_input_name="sentence_embedding")
    (folder / "2_Normalize").mkdir()
    (folder / "2_Normalize/config.json").write_text(json.dumps({"module_output_name": "other"}))
    with pytest.raises(ModelError, match="module_output_name = 'other'"):
        read_facts(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "modules.json", SETTINGS])
@pytest.mark.parametrize(
    ("begin", "phrase"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page"),
        (b"\x1f\x8b\x08\x00" + bytes(30), "packed with gzip"),
        ("{}".encode("utf-16"), "text in UTF-16"),
    ],
)
def test_not_what_its_name_says(folder: Path, name: str, begin: bytes, phrase: str) -> None:
    """A pointer, an error page, a packed file or UTF-16 under a model file's name is told for what it is."""
    (folder / name).write_bytes(begin)
    with pytest.raises(ModelError, match=f"{name} is {phrase}"):
        read_facts(folder)


def test_older_names_of_the_settings(folder: Path) -> None:
    """As sentence-transformers does, the first of the settings' names that is there counts, and no other."""
    (folder / SETTINGS).rename(folder / "sentence_xlnet_config.json")
    edit(folder, "sentence_xlnet_config.json", max_seq_length=20)
    assert read_facts(folder).max_tokens == 20
    (folder / "sentence_roberta_config.json").write_text(json.dumps({"max_seq_length": 30}))
    assert read_facts(folder).max_tokens == 30


def test_limit_of_the_settings_wins(folder: Path) -> None:
    """max_seq_length is the limit even where the tokenizer's is smaller, but never beyond the position table."""
    edit(folder, "tokenizer_config.json", model_max_length=16)
    edit(folder, SETTINGS, max_seq_length=48)
    assert read_facts(folder).max_tokens == 48
    edit(folder, SETTINGS, max_seq_length=48, tokenizer_args={"model_max_length": 24})
    assert read_facts(folder).max_tokens == 24
    edit(folder, SETTINGS, max_seq_length=100_000, tokenizer_args={})
    assert read_facts(folder).max_tokens == json.loads((folder / "config.json").read_text())["max_position_embeddings"]


def test_page_and_rules_agree() -> None:
    """docs/model-folders.md says what the code does; else: `python tests/model_folders_page.py`."""
    assert PAGE.read_text(encoding="utf8") == page()


def test_causal_encoders(folder: Path, tiny_decoder: Path) -> None:
    """is_causal in an encoder's file, which counts in some batches only, is refused; decoders may say so."""
    edit(folder, "config.json", is_causal=True)
    with pytest.raises(ModelError, match=r"config\.json: is_causal = True, but the layers of bert are not"):
        on_cpu(read_facts(folder))
    shutil.rmtree(folder)
    shutil.copytree(tiny_decoder, folder)
    edit(folder, "config.json", is_causal=True)
    assert on_cpu(read_facts(folder)).arithmetic.causal
