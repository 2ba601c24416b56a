"""What a model's files say, and what they must not."""

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
from embed_corpus.engine.ready import get_ready
from embed_corpus.errors import ModelError
from embed_corpus.job.fingerprint import space_record
from embed_corpus.model.facts import read_facts
from embed_corpus.verbs.query import encode_chunks
from kit.batches import cosines
from kit.encoders import loaded_on_cpu, on_cpu
from kit.tiny import edit


def test_facts(tiny_decoder: Path) -> None:
    """The facts of a model are what its files say."""
    facts = read_facts(tiny_decoder)
    assert (facts.family, facts.pooling, facts.normalize, facts.similarity) == ("qwen3", "lasttoken", True, "cosine")
    assert (facts.dim, facts.max_tokens) == (32, 128)
    assert (facts.document_prompt, facts.query_prompt) == ("", "Instruct: find\nQuery:")


@pytest.mark.parametrize(
    ("prompts", "document", "query"),
    [
        ({"query": "q: ", "passage": "p: "}, "p: ", "q: "),
        ({"query": "q: ", "corpus": "c: ", "document": "d: ", "passage": "p: "}, "d: ", "q: "),
        ({"query": "q: ", "other": "o: "}, "", "q: "),
        ({}, "", ""),
    ],
)
def test_prompts(broken: Path, prompts: dict[str, str], document: str, query: str) -> None:
    """The document prompt is the one named document, passage or corpus, in this order; queries have their own."""
    edit(broken, "config_sentence_transformers.json", prompts=prompts)
    facts = read_facts(broken)
    assert (facts.document_prompt, facts.query_prompt) == (document, query)


@pytest.mark.parametrize("default", [None, "other", "query"])
def test_prompts_parity(broken: Path, default: str | None) -> None:
    """With our prompts put before a text, sentence-transformers' encode gives its encode_document and encode_query."""
    from sentence_transformers import SentenceTransformer

    prompts = {"query": "q: ", "other": "o: "}
    edit(broken, "config_sentence_transformers.json", prompts=prompts, default_prompt_name=default)
    facts, theirs, text = read_facts(broken), SentenceTransformer(str(broken), device="cpu"), "flow past a plate"
    query, document = theirs.encode([facts.query_prompt + text, facts.document_prompt + text], prompt="")
    np.testing.assert_allclose(theirs.encode_query(text), query, atol=1e-6)
    np.testing.assert_allclose(theirs.encode_document(text), document, atol=1e-6)


def test_max_tokens(tiny_roberta: Path, tmp_path: Path) -> None:
    """The smallest limit of any file counts; RoBERTa's table has two positions that are no text's."""
    folder = Path(shutil.copytree(tiny_roberta, tmp_path / "model"))
    edit(folder, "sentence_bert_config.json", max_seq_length=None)
    edit(folder, "tokenizer_config.json", model_max_length=int(1e30))
    assert read_facts(folder).max_tokens == 64
    edit(folder, "tokenizer_config.json", model_max_length=40)
    assert read_facts(folder).max_tokens == 40
    edit(folder, "sentence_bert_config.json", max_seq_length=30)
    assert read_facts(folder).max_tokens == 30


@pytest.fixture
def broken(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT to be broken."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


MODULES = [
    {"type": f"sentence_transformers.models.{kind}", "path": path}
    for kind, path in (("Transformer", ""), ("Pooling", "1_Pooling"), ("LSTM", "2_LSTM"))
]


@pytest.mark.parametrize("name", ["config.json", "modules.json", "1_Pooling/config.json"])
@pytest.mark.parametrize(("content", "phrase"), [(None, "lacks {}"), ("{", "{} cannot be read"), ("7", "{} holds no")])
def test_broken_file(broken: Path, name: str, content: str | None, phrase: str) -> None:
    """A needed file that is missing, no JSON, or of another shape is a model error that names it."""
    (broken / name).unlink()
    if content is not None:
        (broken / name).write_text(content)
    with pytest.raises(ModelError, match=phrase.format(name)):
        read_facts(broken)


@pytest.mark.parametrize(
    ("name", "content", "phrase"),
    [
        ("modules.json", MODULES, r"modules\.json has modules that are not supported: LSTM"),
        ("modules.json", MODULES[:1], r"modules\.json names no Pooling module"),
        ("modules.json", MODULES[1::-1], "lists Pooling, Transformer: supported is one Transformer"),
        ("modules.json", MODULES[:2] * 2, "lists Transformer, Pooling, Transformer, Pooling: supported is one"),
        ("1_Pooling/config.json", {"pooling_mode": "middle"}, "pooling middle is not supported"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "soup"]}, r"pooling cls \+ soup is not supported"),
        ("1_Pooling/config.json", {}, r"pooling \(none\) is not supported"),
    ],
)
def test_unsupported(broken: Path, name: str, content: object, phrase: str) -> None:
    """What we could not run rightly is a model error that says what it is."""
    (broken / name).write_text(json.dumps(content))
    with pytest.raises(ModelError, match=phrase):
        read_facts(broken)


def test_pooling_of_another_model(broken: Path) -> None:
    """A pooling file made for another dimension than the model's is told, with both."""
    edit(broken, "1_Pooling/config.json", word_embedding_dimension=48)
    with pytest.raises(ModelError, match=r"1_Pooling/config\.json pools states of 48 numbers, but the model's have 32"):
        read_facts(broken)


def test_no_modules(broken: Path) -> None:
    """A folder that does not say how it pools needs --pooling, and normalises; else it is told what was looked for."""
    (broken / "modules.json").unlink()
    with pytest.raises(ModelError, match=r"lacks modules\.json.*1_Pooling/config.*--pooling \{mean,cls,lasttoken"):
        read_facts(broken)
    facts = read_facts(broken, "lasttoken")
    assert (facts.pooling, facts.normalize, facts.dim) == ("lasttoken", True, 32)


def test_pooling_asked_for_against_the_files(broken: Path) -> None:
    """--pooling that contradicts the model's own files is refused; one that repeats them is no matter."""
    assert read_facts(broken, "mean") == read_facts(broken)
    with pytest.raises(ModelError, match="--pooling cls: the model's own files say mean"):
        read_facts(broken, "cls")


def test_no_limit_known(broken: Path) -> None:
    """A model of which no file says how long a text may be is refused, with the field to set."""
    edit(broken, "config.json", max_position_embeddings=None)
    edit(broken, "tokenizer_config.json", model_max_length=int(1e30))
    (broken / "sentence_bert_config.json").unlink()
    with pytest.raises(ModelError, match="Set max_seq_length in sentence_bert_config"):
        read_facts(broken)


def test_no_tokenizer(broken: Path) -> None:
    """A folder without tokenizer.json is refused before anything is tokenised."""
    (broken / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"lacks tokenizer\.json"):
        space_record(read_facts(broken))


def test_pickled_weights(broken: Path) -> None:
    """Pickled weights are refused by name, by the fingerprint and by the encoder."""
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle"):
        space_record(read_facts(broken))
    with pytest.raises(ModelError, match="cannot be loaded"):
        on_cpu(read_facts(broken))


def test_missing_weight(broken: Path) -> None:
    """A weight that the file lacks is an error that names it: a random one would stand in."""
    file = broken / "model.safetensors"
    weights = load_file(file)
    del weights["encoder.layer.0.output.dense.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, e\.g\. encoder\.layer\.0\.output\.dense\.weight"):
        on_cpu(read_facts(broken))


@pytest.mark.parametrize("kept", [0, 4, 0.5, 0.999])
def test_weights_cut_short(broken: Path, kept: float) -> None:
    """A safetensors file cut short anywhere is a model error that names the folder."""
    file = broken / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept if kept > 1 else kept * len(whole))])
    with pytest.raises(ModelError, match=str(broken)):
        on_cpu(read_facts(broken))


def test_wrong_shape(broken: Path) -> None:
    """Weights of another shape than the config's are a model error."""
    edit(broken, "config.json", intermediate_size=48)
    with pytest.raises(ModelError, match="cannot be loaded"):
        on_cpu(read_facts(broken))


def test_architecture_with_attention_of_its_own(tiny_mpnet: Path, documents: list[str]) -> None:
    """A model that computes its attention itself gets sentence-transformers' vectors all the same, and a note."""
    from sentence_transformers import SentenceTransformer

    facts = read_facts(tiny_mpnet)
    encoder, (note,), _ = get_ready(loaded_on_cpu(facts))
    assert note == "texts are padded, which is slower: architecture 'mpnet' computes its attention itself"
    chunks = Chunker(WordTokenizer(tiny_mpnet), facts.max_tokens)(documents)
    spans = [documents[d][a:b] for d, a, b in zip(chunks.doc, chunks.start, chunks.end, strict=True)]
    theirs = SentenceTransformer(str(tiny_mpnet), device="cpu").encode(spans, show_progress_bar=False)
    assert (cosines(encode_chunks(encoder, chunks), theirs) >= 0.99999).all()


def test_unknown_architecture(broken: Path) -> None:
    """A family that transformers does not know is a model error."""
    edit(broken, "config.json", model_type="brand-new")
    with pytest.raises(ModelError, match="cannot be loaded"):
        on_cpu(read_facts(broken))


def test_weights_that_are_no_numbers(broken: Path) -> None:
    """A NaN in a layer's weights, which would spoil every vector, is an error that names the weight."""
    file = broken / "model.safetensors"
    weights = load_file(file)
    weights["encoder.layer.0.output.dense.weight"][3, 5] = torch.nan
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"encoder\.layer\.0\.output\.dense\.weight holds numbers that are not finite"):
        on_cpu(read_facts(broken))


def test_missing_shard_of_weights(broken: Path) -> None:
    """Weights in several files, one of which is missing, are a model error that names it."""
    from transformers import AutoModel

    AutoModel.from_pretrained(broken).save_pretrained(broken, max_shard_size="100KB")
    (broken / "model.safetensors").unlink()
    shards = sorted(broken.glob("model-*.safetensors"))
    assert len(shards) > 1
    on_cpu(read_facts(broken))
    shards[-1].unlink()
    with pytest.raises(ModelError, match=f"lacks {shards[-1].name}"):
        space_record(read_facts(broken))
