"""LoRA adapters: what is merged gives PEFT's vectors, and what could not be merged rightly is refused."""

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
from embed_corpus.engine.lora import merge
from embed_corpus.errors import ModelError
from embed_corpus.job.fingerprint import space_record
from embed_corpus.model.adapter import ADAPTER_KEYS
from embed_corpus.model.facts import read_facts
from embed_corpus.verbs.model import describe_model
from kit.batches import cosines, encode
from kit.encoders import loaded_on_cpu, on_cpu, ready_on_cpu
from kit.tiny import edit

TEXTS = ["flow", "heat transfer in hypersonic flow", "a boundary layer past a flat plate"]
BERT = ["encoder.layer.0.attention.self.query", "encoder.layer.0.attention.self.value", "encoder.layer.0.output.dense"]
LAYERS = {
    "tiny_model": BERT,
    "tiny_roberta": BERT,
    "tiny_mpnet": ["encoder.layer.0.attention.attn.q", "encoder.layer.0.attention.attn.v"],
    "tiny_decoder": [
        f"layers.{i}.{name}"
        for i in (0, 1)
        for name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.down_proj")
    ],
}


def adapt(folder: Path, layers: list[str], rank: int = 4, **config: object) -> Path:
    """Put a random adapter on these layers into a model's folder."""
    from transformers import AutoModel

    named, dice = dict(AutoModel.from_pretrained(folder).named_modules()), torch.Generator().manual_seed(1)
    tensors = {}
    for name in layers:
        n_out, n_in = named[name].weight.shape
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, n_in, generator=dice) / 3
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(n_out, rank, generator=dice) / 3
    save_file(tensors, folder / "adapter_model.safetensors")
    said = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": layers, "bias": "none"} | config
    (folder / "adapter_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT with an adapter."""
    return adapt(Path(shutil.copytree(tiny_model, tmp_path / "model")), BERT)


def ours(folder: Path) -> np.ndarray:
    """Vectors of `TEXTS`, on the path that is found right for the model."""
    facts = read_facts(folder)
    return encode(ready_on_cpu(facts), Chunker(WordTokenizer(facts.transformer), facts.max_tokens)(TEXTS).ids())


def theirs(base: Path, adapted: Path, layers: list[str], scale: float) -> np.ndarray:
    """Vectors of sentence-transformers' model of the base, each layer's output plus scale x B A of its input."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(base), device="cpu")
    tensors = load_file(adapted / "adapter_model.safetensors")
    modules = dict(model[0].auto_model.named_modules())
    for name in layers:
        a, b = (tensors[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
        modules[name].register_forward_hook(lambda _, x, y, a=a, b=b: y + scale * (x[0] @ a.T @ b.T))
    return model.encode(TEXTS)


@pytest.mark.heavy
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("rooted", [False, True])
def test_merged(name: str, rooted: bool, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Vectors are those of the layers with the adapter beside them, in every family; far from the base model's."""
    base = request.getfixturevalue(name)
    adapted = adapt(Path(shutil.copytree(base, tmp_path / "model")), LAYERS[name], use_rslora=rooted)
    vectors = ours(adapted)
    assert (cosines(vectors, theirs(base, adapted, LAYERS[name], 8 / (2 if rooted else 4))) >= 0.99999).all()
    assert (cosines(vectors, ours(base)) < 0.99).all()


def test_adapter_apart_from_its_base(tiny_model: Path, folder: Path) -> None:
    """A folder with nothing but an adapter gives the same vectors, weights and config.json from where it says."""
    expected = ours(folder)
    (folder / "config.json").unlink()
    (folder / "model.safetensors").unlink()
    edit(folder, "adapter_config.json", base_model_name_or_path=str(tiny_model))
    assert (ours(folder) == expected).all()
    assert space_record(read_facts(folder)).weights == space_record(read_facts(tiny_model)).weights


def test_weights_in_several_files(tiny_model: Path, folder: Path) -> None:
    """The base's weights may lie in several files."""
    from transformers import AutoModel

    expected = ours(folder)
    AutoModel.from_pretrained(tiny_model).save_pretrained(folder, max_shard_size="100KB")
    (folder / "model.safetensors").unlink()
    assert (ours(folder) == expected).all()


def test_half_precision_is_cast_once(folder: Path) -> None:
    """Weights are merged in fp32 and rounded to fp16 afterwards."""
    facts = read_facts(folder)
    half, whole = (loaded_on_cpu(facts, precision).module for precision in ("fp16", "fp32"))
    for (name, a), (_, b) in zip(half.named_parameters(), whole.named_parameters(), strict=True):
        assert torch.equal(a, b.half()), name


def test_space_and_model_command(tiny_model: Path, folder: Path) -> None:
    """The adapter is part of the space, and only where there is one; `model` tells of it."""
    plain, adapted = (space_record(read_facts(f)).to_json() for f in (tiny_model, folder))
    assert "adapter" not in plain
    assert adapted.pop("adapter").keys() == {"adapter_config.json", "adapter_model.safetensors"}
    assert plain == adapted
    assert describe_model(str(folder), devices="cpu").modules[0] == "Transformer with a LoRA adapter of rank 4"


def test_pooler_is_no_matter(tiny_model: Path, folder: Path) -> None:
    """An adapter on all dense layers is on the pooler's, too, which nothing reads."""
    layers = [BERT[2], "encoder.layer.0.attention.output.dense", "encoder.layer.0.intermediate.dense", "pooler.dense"]
    adapt(folder, layers, target_modules=["dense"])
    assert (cosines(ours(folder), theirs(tiny_model, folder, layers[:3], 2)) >= 0.99999).all()


def test_trained_under_a_head(tiny_decoder: Path, tmp_path: Path) -> None:
    """Names of a model with a head on top (model.layers.0 …) mean the layers below it."""
    adapted = adapt(Path(shutil.copytree(tiny_decoder, tmp_path / "m")), LAYERS["tiny_decoder"])
    expected, file = ours(adapted), adapted / "adapter_model.safetensors"
    headed = {key.replace("model.layers", "model.model.layers"): tensor for key, tensor in load_file(file).items()}
    save_file(headed, file)
    edit(adapted, "adapter_config.json", target_modules=["q_proj", "k_proj", "v_proj", "gate_proj", "down_proj"])
    assert (ours(adapted) == expected).all()


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"use_dora": True}, "use_dora = 'True' is not supported"),
        ({"bias": "lora_only"}, "bias = 'lora_only'"),
        ({"modules_to_save": ["classifier"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"brand_new": 1}, "brand_new = '1' is not supported"),
        ({"brand_new": None}, "brand_new"),
        ({"peft_type": "IA3"}, "adapters of kind IA3 are not supported"),
        ({"target_modules": None}, "names no target_modules"),
        ({"target_modules": "(unclosed"}, "no regular expression"),
        ({"target_modules": "q", "layers_to_transform": [0]}, "with a list of target_modules only"),
        ({"layers_pattern": "layer"}, "with layers_to_transform only"),
        ({"r": 0}, "below 1"),
        ({"r": "many"}, "holds something odd"),
    ],
)
def test_refused_by_name(folder: Path, change: dict[str, object], phrase: str) -> None:
    """What an adapter's configuration asks for beyond plain LoRA is refused before anything is loaded."""
    edit(folder, "adapter_config.json", **change)
    with pytest.raises(ModelError) as told:
        read_facts(folder)
    assert phrase in str(told.value)
    assert str(folder) in str(told.value)


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"target_modules": BERT[:2]}, "holds tensors for encoder.layer.0.output.dense, not one of the layers"),
        ({"target_modules": [*BERT, "key"]}, "lacks tensors for encoder.layer.0.attention.self.key"),
        ({"exclude_modules": ["value"]}, "holds tensors for encoder.layer.0.attention.self.value"),
        ({"target_modules": ["nothing"]}, "holds tensors for"),
        ({"target_modules": ["word_embeddings"]}, "embeddings.word_embeddings, a Embedding; only linear layers"),
        ({"rank_pattern": {"query": 3}}, "the matrices for encoder.layer.0.attention.self.query have shapes (4, 32)"),
    ],
)
def test_tensors_that_do_not_fit(folder: Path, change: dict[str, object], phrase: str) -> None:
    """Every tensor is used, and every layer that the configuration names has its own."""
    edit(folder, "adapter_config.json", **change)
    with pytest.raises(ModelError) as told:
        on_cpu(read_facts(folder))
    assert phrase in str(told.value)


@pytest.mark.parametrize(
    "key", ["base_model.model.encoder.layer.0.x.lora_embedding_A", "encoder.bias", "lora_A.weight"]
)
def test_tensors_of_other_kinds(folder: Path, key: str) -> None:
    """A tensor that is no matrix of plain LoRA is refused by name."""
    file = folder / "adapter_model.safetensors"
    save_file(load_file(file) | {key: torch.ones(2, 2)}, file)
    with pytest.raises(ModelError, match=f"holds {key}, no matrix of a LoRA adapter"):
        on_cpu(read_facts(folder))


def test_files_that_are_missing(folder: Path, tmp_path: Path) -> None:
    """Weights that are missing or pickled, weights without a configuration, and a base that is gone are all told."""
    weights = folder / "adapter_model.safetensors"
    weights.rename(folder / "adapter_model.bin")
    with pytest.raises(
        ModelError, match=r"lacks its weights, adapter_model.safetensors: adapter_model.bin is a pickle"
    ):
        read_facts(folder)
    (folder / "adapter_model.bin").rename(weights)
    (folder / "adapter_config.json").rename(tmp_path / "kept")
    with pytest.raises(ModelError, match=r"adapter_model.safetensors is an adapter's weights without adapter_config"):
        read_facts(folder)
    (tmp_path / "kept").rename(folder / "adapter_config.json")
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"adapter_config.json names no base_model_name_or_path"):
        read_facts(folder)
    edit(folder, "adapter_config.json", base_model_name_or_path=str(tmp_path / "nowhere"))
    with pytest.raises(ModelError, match=r"adapter_config.json is an adapter's; its base model is gone"):
        read_facts(folder)


def test_another_base_than_beside_it(tiny_model: Path, folder: Path, tmp_path: Path) -> None:
    """A base named in the adapter, whose config.json differs from the one beside it, is refused; a copy is not."""
    other = Path(shutil.copytree(tiny_model, tmp_path / "other"))
    edit(folder, "adapter_config.json", base_model_name_or_path=str(other))
    read_facts(folder)
    edit(other, "config.json", hidden_act="relu")
    with pytest.raises(ModelError, match=r"whose config\.json is another than"):
        read_facts(folder)


CONFIGS = [
    {"target_modules": ["query", "value"]},
    {"target_modules": "all-linear", "exclude_modules": ["key"]},
    {"target_modules": r".*layer\.\d\.attention.*(query|key)", "use_rslora": True, "lora_alpha": 5},
    {"target_modules": ["dense"], "rank_pattern": {"intermediate.dense": 3}, "alpha_pattern": {r"output\.dense": 2}},
    {
        "target_modules": ["query"],
        "layers_to_transform": [1],
        "layers_pattern": "layer",
        "init_lora_weights": "gaussian",
    },
    {"target_modules": ["query", "dense"], "layers_to_transform": 0, "exclude_modules": r".*attention\.output.*"},
]


@pytest.mark.filterwarnings("ignore")  # PEFT's own
@pytest.mark.parametrize("said", CONFIGS, ids=str)
def test_equals_peft(said: dict[str, object], tmp_path: Path) -> None:
    """Saved by PEFT itself, an adapter merges into the weights that PEFT's own merge gives, and no other."""
    peft = pytest.importorskip("peft")
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48}
    model = BertModel(BertConfig(**sizes, num_hidden_layers=2))
    model.save_pretrained(tmp_path)
    saved_by(peft, model, said, tmp_path)
    compare(tmp_path, BertModel)


@pytest.mark.filterwarnings("ignore")  # PEFT's own
@pytest.mark.parametrize(
    "said", [{"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}, {"target_modules": "all-linear"}]
)
def test_equals_peft_on_flipped_layers(said: dict[str, object], tmp_path: Path) -> None:
    """GPT-2 keeps its weights the other way round."""
    peft = pytest.importorskip("peft")
    from transformers import GPT2Config, GPT2Model

    torch.manual_seed(0)
    model = GPT2Model(GPT2Config(vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=2))
    model.save_pretrained(tmp_path)
    saved_by(peft, model, said, tmp_path)
    compare(tmp_path, GPT2Model)


def saved_by(peft: object, model: torch.nn.Module, said: dict[str, object], folder: Path) -> None:
    """Let PEFT write a random adapter."""
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, **said))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(folder)
    written = json.loads((folder / "adapter_config.json").read_text())
    assert written.keys() <= ADAPTER_KEYS.keys()


def compare(folder: Path, kind: type) -> None:
    """Merge by PEFT and by ourselves, and compare all weights."""
    import peft

    from embed_corpus.model.adapter import read_adapter

    plain, ours = (
        kind.from_pretrained(
            None, config=kind.config_class.from_pretrained(folder), state_dict=load_file(folder / "model.safetensors")
        )
        for _ in range(2)
    )
    theirs = peft.PeftModel.from_pretrained(plain, folder).merge_and_unload()
    before = {name: weight.clone() for name, weight in ours.named_parameters()}
    adapter, _ = read_adapter(folder)
    merge(ours, adapter)
    expected = dict(theirs.named_parameters())
    changed = [name for name, weight in ours.named_parameters() if not torch.equal(weight, before[name])]
    assert changed
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight, expected[name], atol=1e-6, rtol=1e-5)
