"""Router models: documents and queries go through modules of their own, as in sentence-transformers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from embed_corpus.chunk.tokenizer import tokenizer_of
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data.records import differences
from embed_corpus.errors import ModelError
from embed_corpus.job.fingerprint import space_record
from embed_corpus.job.fits import check_fit
from embed_corpus.job.output import open_output
from embed_corpus.job.prompts import Prompts, with_query_prompt
from embed_corpus.model.facts import ModelFacts, read_facts
from embed_corpus.model.matryoshka import at_dim
from embed_corpus.verbs.model import describe_model
from embed_corpus.verbs.query import QueryEncoder, encode_chunks
from kit.batches import cosines
from kit.encoders import loaded_on_cpu, ready_on_cpu
from kit.tiny import Command, edit, wordpiece

TEXTS = ["flow", "heat transfer in hypersonic flow", "a boundary layer past a flat plate"]
PROMPTS = {"query": "question: ", "document": "text: "}


def transformer(folder: Path) -> list[torch.nn.Module]:
    """A Transformer and its pooling."""
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    return [Transformer(str(folder)), Pooling(32, "mean")]


def static(texts: list[str]) -> list[torch.nn.Module]:
    """A table."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.manual_seed(0)
    return [StaticEmbedding(wordpiece(texts), embedding_dim=32)]


@pytest.fixture(params=["two transformers", "a table for queries", "a table for documents"])
def routed(
    request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path, tiny_roberta: Path, texts: list[str]
) -> Path:
    """A model as sentence-transformers saves one, a Normalize module behind both routes."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Router

    queries, documents = {
        "two transformers": lambda: (transformer(tiny_roberta), transformer(tiny_model)),
        "a table for queries": lambda: (static(texts), transformer(tiny_model)),
        "a table for documents": lambda: (transformer(tiny_model), static(texts)),
    }[request.param]()
    router = Router.for_query_document(query_modules=queries, document_modules=documents)
    model = SentenceTransformer(modules=[router, Normalize()], device="cpu", prompts=PROMPTS)
    model.save(str(tmp_path / "routed"), create_model_card=False)
    return tmp_path / "routed"


def embedded(facts: ModelFacts) -> np.ndarray:
    """Vectors of `TEXTS` with the document prompt of these facts."""
    return encode_chunks(
        ready_on_cpu(facts), Chunker(tokenizer_of(facts), facts.max_tokens, prompt=facts.document_prompt)(TEXTS)
    )


def theirs(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """sentence-transformers' vectors of `TEXTS` as documents and as queries."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    return model.encode_document(TEXTS), model.encode_query(TEXTS)


@pytest.mark.heavy
def test_equals_sentence_transformers(routed: Path) -> None:
    """Documents take the document route and queries the other one, prompts included; the two differ."""
    facts = read_facts(routed)
    documents, queries = theirs(routed)
    assert (cosines(embedded(facts), documents) >= 0.99999).all()
    assert (cosines(embedded(with_query_prompt(facts, Prompts())), queries) >= 0.99999).all()
    assert (cosines(documents, queries) < 0.9).all()


def test_space_holds_both_sides(routed: Path) -> None:
    """Another table or model for queries is another space; `model` names both sides."""
    before = space_record(read_facts(routed)).to_json()
    told = describe_model(str(routed), devices="cpu").modules
    assert told[-1].startswith("for queries: ")
    route = json.loads((routed / "router_config.json").read_text())["structure"]["query"][0]
    tokenizer = routed / route / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert [line.split(":")[0] for line in differences(space_record(read_facts(routed)).to_json(), before)] == [
        "queries.tokenizer"
    ]


@pytest.mark.heavy
def test_cut_vectors(routed: Path) -> None:
    """--dim cuts both sides."""
    facts = at_dim(read_facts(routed), 8)
    assert embedded(facts).shape[1] == embedded(with_query_prompt(facts, Prompts())).shape[1] == 8


@pytest.mark.heavy
@pytest.mark.parametrize("task", ["document", "query"])
@pytest.mark.parametrize(
    "mappings",
    [
        {"('query', 'text')": "document", "('document', None)": "query"},
        {"(None, 'text')": "query"},
        {"('query', ('text', 'image'))": "document", "(None, None)": "document"},
    ],
)
def test_route_mappings(routed: Path, mappings: dict[str, str], task: str) -> None:
    """Mappings are followed in sentence-transformers' order."""
    config = json.loads((routed / "router_config.json").read_text())
    config["parameters"]["route_mappings"] = mappings
    (routed / "router_config.json").write_text(json.dumps(config))
    facts = read_facts(routed)
    ours = facts if task == "document" else with_query_prompt(facts, Prompts())
    assert (cosines(embedded(ours), theirs(routed)[task == "query"]) >= 0.99999).all()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"structure": {}}, "this Router has no routes"),
        ({"types": None}, "this Router has no routes"),
        ({"parameters": {"route_mappings": {"query": "query"}}}, "no pair of task and modality"),
        ({"parameters": {"route_mappings": {"('query', None)": "x"}}}, "name 'x', which is no route"),
        ({"parameters": {"default_route": "x"}}, "default_route 'x' is no route"),
        ({"parameters": {"by_length": 7}}, "a Router's parameters.by_length is not supported"),
        ({"brand_new": 1}, "a Router's brand_new is not supported"),
        ({"structure": {"query": [], "document": ["gone"]}}, "names 'gone', which types does not"),
    ],
)
def test_refused(routed: Path, change: dict[str, object], phrase: str) -> None:
    """What the Router's file says and nobody obeys is refused by name."""
    edit(routed, "router_config.json", **change)
    with pytest.raises(ModelError) as told:
        read_facts(routed)
    assert phrase in str(told.value)
    assert "router_config.json" in str(told.value)


def test_no_route_for_documents(routed: Path) -> None:
    """A Router without a route for documents is refused, and names those that it has."""
    config = json.loads((routed / "router_config.json").read_text())
    structure = {"question": config["structure"]["query"], "answer": config["structure"]["document"]}
    edit(routed, "router_config.json", structure=structure, parameters={})
    with pytest.raises(ModelError, match="has no route for document texts, only question, answer"):
        read_facts(routed)


def test_modules_of_other_kinds(routed: Path) -> None:
    """A route for images is refused by the name of its module, also where no text takes it."""
    config = json.loads((routed / "router_config.json").read_text())
    config["types"]["image_0"] = "sentence_transformers.models.CLIPModel"
    edit(routed, "router_config.json", types=config["types"])
    with pytest.raises(ModelError, match=r"router_config\.json has modules that are not supported: CLIPModel"):
        read_facts(routed)


@pytest.mark.heavy
def test_files_as_older_versions_name_them(routed: Path) -> None:
    """Asym, the Router of older versions, kept its routes in config.json."""
    expected = embedded(read_facts(routed))
    (routed / "router_config.json").rename(routed / "config.json")
    modules = json.loads((routed / "modules.json").read_text())
    modules[0]["type"] = "sentence_transformers.models.Asym"
    (routed / "modules.json").write_text(json.dumps(modules))
    assert (embedded(read_facts(routed)) == expected).all()
    assert (cosines(theirs(routed)[0], expected) >= 0.99999).all()


@pytest.mark.parametrize("routed", ["a table for queries"], indirect=True)
def test_command(routed: Path, tmp_path: Path, texts: list[str], embed_corpus: Command) -> None:
    """`run` and `verify` take the document side, a query the other."""
    rows = [json.dumps({"id": str(i), "text": text[:150]}) for i, text in enumerate(texts[:20])]
    (tmp_path / "d.jsonl").write_text("\n".join(rows))
    done = embed_corpus("run", tmp_path / "d.jsonl", tmp_path / "o", "--model", routed, "--id-column", "id")
    assert done.returncode == 0, done.stderr
    assert embed_corpus("verify", tmp_path / "o").returncode == 0
    assert (cosines(QueryEncoder(open_output(tmp_path / "o")).embed(TEXTS), theirs(routed)[1]) >= 0.99999).all()


def beyond(folder: Path) -> Path:
    """Give a Transformer's tokenizer a token that no table has a row for."""
    spec = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = spec["model"]["vocab"]
    if isinstance(vocabulary, list):
        vocabulary += [[f"no-{i}", -99.0] for i in range(len(vocabulary), 10_000)]
    else:
        vocabulary["no-token"] = 9_999
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    return folder


@pytest.mark.parametrize("task", ["document", "query"])
@pytest.mark.parametrize("routed", ["two transformers"], indirect=True)
def test_tokens_beyond_either_table(routed: Path, task: str) -> None:
    """A token that one side's table has no row for ends a run at its begin, not the first search."""
    model = loaded_on_cpu(facts := read_facts(routed))
    check_fit(tokenizer_of(facts), facts, model.known_ids)
    folder = beyond(routed / json.loads((routed / "router_config.json").read_text())["structure"][task][0])
    with pytest.raises(ModelError, match=r"knows 'no-.*' as id .*, but its embedding table has .* rows") as refused:
        check_fit(tokenizer_of(facts), facts, model.known_ids)
    assert f"model {folder}:" in str(refused.value)


@pytest.mark.parametrize("routed", ["two transformers"], indirect=True)
def test_odd_config_of_queries(routed: Path) -> None:
    """A value of the wrong type in the query side's config.json is told before the run, by file and key."""
    folder = routed / json.loads((routed / "router_config.json").read_text())["structure"]["query"][0]
    edit(folder, "config.json", bos_token_id=["x"])
    model = loaded_on_cpu(facts := read_facts(routed))
    with pytest.raises(ModelError, match=r"config\.json: .*bos_token_id"):
        check_fit(tokenizer_of(facts), facts, model.known_ids)


@pytest.mark.parametrize("routed", ["a table for documents"], indirect=True)
def test_tokens_of_queries_are_transformers_own(routed: Path) -> None:
    """A query side whose class in transformers makes other tokens is refused beside a table for documents, too."""
    model = loaded_on_cpu(facts := read_facts(routed))
    folder = routed / json.loads((routed / "router_config.json").read_text())["structure"]["query"][0]
    tokenizer = tokenizer_of(facts)
    check_fit(tokenizer, facts, model.known_ids)
    edit(folder, "tokenizer_config.json", tokenizer_class="RobertaTokenizer")
    with pytest.raises(ModelError, match=r"transformers' .* makes other tokens"):
        check_fit(tokenizer, facts, model.known_ids)


@pytest.mark.parametrize("routed", ["two transformers"], indirect=True)
def test_space_holds_the_pooling_of_queries(routed: Path) -> None:
    """Whether the prompt of queries is pooled, too, decides about their vectors: it is in the space."""
    before = space_record(read_facts(routed)).to_json()
    pooling = json.loads((routed / "router_config.json").read_text())["structure"]["query"][1]
    edit(routed / pooling, "config.json", include_prompt=False)
    assert list(differences(space_record(read_facts(routed)).to_json(), before)) != []
