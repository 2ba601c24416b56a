"""StaticEmbedding models: sentence-transformers' and model2vec's folders give the vectors that those give."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from embed_corpus.chunk.tokenizer import tokenizer_of
from embed_corpus.chunk.windows import Chunker
from embed_corpus.engine.ready import get_ready
from embed_corpus.errors import ModelError, UsageError
from embed_corpus.feed.packing import Packer
from embed_corpus.job.devices import resolve_precision
from embed_corpus.job.fingerprint import space_record
from embed_corpus.model.facts import read_facts
from embed_corpus.verbs.model import describe_model
from kit.batches import cosines
from kit.encoders import loaded_on_cpu
from kit.tiny import Command, byte_bpe, unigram, wordpiece

DIM = 48
TRAINED = {"wordpiece": wordpiece, "byte_bpe": byte_bpe, "unigram": unigram}
ODD = ["heat", "heat 漢字 flow 😀", "Über die Brücke, naïvely", "[CLS] flow [SEP]", "  two  spaces \n and lines "]


@pytest.fixture(scope="module", params=TRAINED)
def tokenizer(request: pytest.FixtureRequest, texts: list[str]) -> Tokenizer:
    """Every kind of tokenizer, with special tokens, truncation and padding that a table must not have."""
    return TRAINED[request.param](texts)


def rows_for(tokenizer: Tokenizer) -> torch.Tensor:
    """A random table, with one row more than there are tokens."""
    return torch.randn(tokenizer.get_vocab_size() + 1, DIM, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def static(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A model as sentence-transformers saves one, with prompts, a Dense module and a Normalize module."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, StaticEmbedding

    torch.manual_seed(0)
    modules = [StaticEmbedding(tokenizer, embedding_weights=rows_for(tokenizer)), Dense(DIM, 32), Normalize()]
    model = SentenceTransformer(modules=modules, device="cpu", prompts={"query": "question: ", "document": "text: "})
    model.save(str(tmp_path / "static"), create_model_card=False)
    return tmp_path / "static"


def nested(folder: Path) -> Path:
    """The same with the module in a folder of its own."""
    (folder / "0_StaticEmbedding").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).rename(folder / "0_StaticEmbedding" / name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0] |= {"path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"}
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def of_model2vec(folder: Path, tokenizer: Tokenizer, **config: object) -> Path:
    """A folder of model2vec's own, of a table whose rows several tokens share and that has a weight for each token."""
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    n = tokenizer.get_vocab_size()
    dice = torch.Generator().manual_seed(0)
    tensors = {
        "embeddings": torch.randn(100, DIM, generator=dice, dtype=torch.float64),
        "mapping": torch.randint(100, (n,), generator=dice),
        "weights": torch.rand(n, generator=dice),
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True} | config))
    return folder


def ours(folder: Path, texts: list[str], *, query: bool = False, budget: int | None = None) -> np.ndarray:
    """Vectors of whole texts."""
    facts = read_facts(folder)
    encoder, notes, _ = get_ready(loaded_on_cpu(facts), budget)
    assert notes == ()
    prompt = facts.query_prompt if query else facts.document_prompt
    chunks = Chunker(tokenizer_of(facts), facts.max_tokens, prompt=prompt)(texts)
    packer = Packer(budget or encoder.batch_tokens)
    return np.concatenate([encoder.encode(batch) for batch in (*packer.add(chunks), *packer.flush())])


@pytest.mark.heavy
@pytest.mark.parametrize("layout", [lambda folder: folder, nested])
def test_equals_sentence_transformers(static: Path, texts: list[str], layout: object) -> None:
    """Documents and queries, each with its prompt, in both layouts; odd texts and special tokens in them, too."""
    from sentence_transformers import SentenceTransformer

    folder = layout(static)
    texts = [*texts[:40], *ODD, " ".join(texts[:30])]
    theirs = SentenceTransformer(str(folder), device="cpu")
    for query, encode in ((False, theirs.encode_document), (True, theirs.encode_query)):
        vectors = ours(folder, texts, query=query)
        np.testing.assert_allclose(vectors, encode(texts), atol=2e-6)
        assert (cosines(vectors, encode(texts)) >= 0.99999).all()


@pytest.mark.heavy
def test_bits_do_not_hang_on_the_batch(static: Path, texts: list[str]) -> None:
    """A text's vector has the same bits alone, among few and among many."""
    together = ours(static, texts)
    assert (together == ours(static, texts, budget=300)).all()
    assert (together[::50] == np.concatenate([ours(static, [text]) for text in texts[::50]])).all()


def test_tables_of_half_precision(static: Path, texts: list[str]) -> None:
    """A table in fp16 is read as the same numbers in fp32."""
    file = static / "model.safetensors"
    rows = load_file(file)["embedding.weight"].half()
    save_file({"embedding.weight": rows}, file)
    half = ours(static, texts[:20])
    save_file({"embedding.weight": rows.float()}, file)
    assert (half == ours(static, texts[:20])).all()


@pytest.mark.parametrize("unit", [True, False])
def test_model2vec(tokenizer: Tokenizer, texts: list[str], tmp_path: Path, unit: bool) -> None:
    """A folder of model2vec's own: the mean of weighted rows, unknown tokens left out, of unit length if it says so."""
    folder = of_model2vec(tmp_path / "m", tokenizer, normalize=unit, max_length=None)
    texts = [text[:2000] for text in texts[:60]] + ODD
    tensors = {name: tensor.double().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}
    table = tensors["embeddings"][tensors["mapping"].astype(int)] * tensors["weights"][:, None]
    unknown = {tokenizer.token_to_id(token) for token in ("[UNK]", "<unk>")}
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    expected = np.array([table[[i for i in each if i not in unknown]].mean(0) for each in ids])
    if unit:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(ours(folder, texts), expected, atol=1e-6)


def test_model2vec_beside_modules(tokenizer: Tokenizer, texts: list[str], tmp_path: Path) -> None:
    """With modules.json it is sentence-transformers' to read: mapping and weights count, unknown tokens stay."""
    from sentence_transformers import SentenceTransformer

    folder = of_model2vec(tmp_path / "m", tokenizer)
    kinds = {".": "StaticEmbedding", "1_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    theirs = SentenceTransformer(str(folder), device="cpu").encode([*texts[:50], *ODD])
    assert (cosines(ours(folder, [*texts[:50], *ODD]), theirs) >= 0.99999).all()


def test_limits(static: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A table has no limit but the one that tokenizer.json, or model2vec's config.json (512 by default), sets."""
    assert read_facts(static).max_tokens == 1 << 20
    spec = Tokenizer.from_file(str(static / "tokenizer.json"))
    spec.enable_truncation(77)
    spec.save(str(static / "tokenizer.json"))
    assert read_facts(static).max_tokens == 77
    spec.enable_truncation(77, direction="left")
    spec.save(str(static / "tokenizer.json"))
    with pytest.raises(ModelError, match="cuts long texts at their beginning"):
        read_facts(static)
    for said, limit in ({"max_length": None}, 1 << 20), ({}, 512), ({"max_length": 99}, 99):
        folder = of_model2vec(tmp_path / f"m{limit}", tokenizer, **said)
        assert read_facts(folder).max_tokens == limit


@pytest.mark.parametrize(
    ("tensors", "phrase"),
    [
        ({}, "holds nothing"),
        ({"weight": (9, 4)}, "holds weight; a StaticEmbedding module's table is"),
        ({"embedding.weight": (2000, 4), "extra": (1,)}, "holds embedding.weight, extra"),
        ({"embeddings": (9, 4)}, "tokens, but model.safetensors has rows for 9"),
        ({"embeddings": (9, 4), "mapping": (3000,), "weights": (7,)}, "weights has 7 numbers for 3000 tokens"),
    ],
)
def test_odd_tables(texts: list[str], tmp_path: Path, tensors: dict[str, tuple[int, ...]], phrase: str) -> None:
    """A table of other names, or for other tokens than the tokenizer's, is refused."""
    folder = of_model2vec(tmp_path / "m", wordpiece(texts[:50]))
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(ModelError) as told:
        read_facts(folder)
    assert phrase in str(told.value)


def test_pickled_and_missing_tables(texts: list[str], tmp_path: Path) -> None:
    """A table that is a pickle, or is not there, is told with the module's name."""
    folder = of_model2vec(tmp_path / "m", wordpiece(texts[:50]))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"the table of its StaticEmbedding module: pytorch_model\.bin is a pickle"):
        read_facts(folder)


def test_precision() -> None:
    """A table is fp32, on every device; another precision is refused."""
    assert resolve_precision("auto", "cpu", "static") == resolve_precision("fp32", "cuda:0", "static") == "fp32"
    with pytest.raises(UsageError, match="a StaticEmbedding model is a table of fp32"):
        resolve_precision("bf16", "cuda:0", "static")


def test_command(texts: list[str], tmp_path: Path, embed_corpus: Command) -> None:
    """`run`, `verify`, `search` and `model` take such a folder; late chunking is refused with the reason."""
    folder = of_model2vec(tmp_path / "m", wordpiece(texts))
    rows = [json.dumps({"id": str(i), "text": text}) for i, text in enumerate(texts[:40])]
    (tmp_path / "d.jsonl").write_text("\n".join(rows))
    asked = "run", tmp_path / "d.jsonl", tmp_path / "o", "--model", folder, "--id-column", "id"
    late = embed_corpus(*asked, "--late-chunking")
    assert (late.returncode, "gives a token the same vector" in late.stderr) == (2, True)
    done = embed_corpus(*asked, "--index", "auto")
    assert done.returncode == 0, done.stderr
    (part,) = (tmp_path / "o/data").glob("*.parquet")
    vectors = np.array(pq.read_table(part)["embedding"].to_pylist())
    assert (cosines(vectors, ours(folder, texts[:40])) > 0.99999).all()
    assert embed_corpus("verify", tmp_path / "o").returncode == 0
    found = embed_corpus("search", tmp_path / "o", texts[7])
    assert found.returncode == 0, found.stderr
    assert found.stdout
    told = "\n".join(describe_model(str(folder), devices="cpu").lines())
    assert "StaticEmbedding, Normalize" in told


def test_space(static: Path) -> None:
    """The table, its tokenizer and the Dense module are in the space; no config.json is asked for."""
    space = space_record(read_facts(static)).to_json()
    assert {"weights", "tokenizer", "dense", "static"} <= space.keys()
    assert "config" not in space
    shutil.copy(static / "config_sentence_transformers.json", static / "unread.json")
    assert space_record(read_facts(static)).to_json() == space


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_pointers_are_told(texts: list[str], tmp_path: Path, name: str) -> None:
    """A Git LFS pointer in a table's folder is told for what it is, in either layout."""
    folder = of_model2vec(tmp_path / "m", wordpiece(texts[:50]))
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    (folder / name).write_text(pointer)
    with pytest.raises(ModelError, match=rf"{name} is a Git LFS pointer"):
        read_facts(folder)
    if name != "config.json":
        kind = "sentence_transformers.models.StaticEmbedding"
        (folder / "modules.json").write_text(json.dumps([{"idx": 0, "name": "0", "path": "", "type": kind}]))
        with pytest.raises(ModelError, match=rf"{name} is a Git LFS pointer"):
            read_facts(folder)
