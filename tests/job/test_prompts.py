"""Documents and queries get the prompts that the model's authors, or the user, meant for them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.errors import UsageError
from embed_corpus.job.config import JobConfig
from embed_corpus.job.output import open_output
from embed_corpus.job.prepare import prepare
from embed_corpus.job.prompts import Prompts, model_of, with_query_prompt
from embed_corpus.model.facts import ModelFacts
from embed_corpus.verbs.query import QueryEncoder, encode_chunks
from embed_corpus.verbs.verify import verify
from kit.batches import cosines
from kit.encoders import on_cpu
from kit.tiny import Command, edit

PROMPTS = {"query": "find : ", "document": "wing and body : ", "other": "the other way : "}
TEXTS = ["flow", "heat transfer in hypersonic flow", "a boundary layer past a flat plate"]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT, with prompts."""
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    edit(copy, "config_sentence_transformers.json", prompts=PROMPTS)
    edit(copy, "tokenizer_config.json", cls_token="[CLS]", sep_token="[SEP]")  # else a prompt's end is not known
    return copy


def facts_of(folder: Path, **options: str) -> ModelFacts:
    """What a job with these options takes the model for."""
    return model_of(JobConfig(("in",), Path("out"), str(folder), **options))


def embedded(facts: ModelFacts, *, padded: bool = False) -> np.ndarray:
    """Vectors of `TEXTS` as documents."""
    chunker = Chunker(WordTokenizer(facts.folder), facts.max_tokens, prompt=facts.document_prompt)
    return encode_chunks(on_cpu(facts, padded=padded), chunker(TEXTS))


@pytest.mark.heavy
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("mode", ["mean", "cls", "lasttoken", "weightedmean", "max", "mean_sqrt_len_tokens"])
def test_prompt_in_pooling(folder: Path, mode: str, include: bool, padded: bool) -> None:
    """Prompts count in pooling where the model says so and are left out where not, for documents and queries."""
    from sentence_transformers import SentenceTransformer

    pooling = {"embedding_dimension": 32, "pooling_mode": mode, "include_prompt": include}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    facts, theirs = facts_of(folder), SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(embedded(facts, padded=padded), theirs.encode_document(TEXTS), atol=1e-5)
    asked = with_query_prompt(facts, Prompts())
    np.testing.assert_allclose(embedded(asked, padded=padded), theirs.encode_query(TEXTS), atol=1e-5)


def test_prompt_in_mean_pooling_would_show(folder: Path) -> None:
    """A prompt that is pooled against the model's word moves the vectors."""
    before = embedded(facts_of(folder))
    edit(folder, "1_Pooling/config.json", include_prompt=False)
    assert (cosines(embedded(facts_of(folder)), before) < 0.99).all()


def test_document_and_query_prompts_are_not_mixed_up(folder: Path) -> None:
    """`encode_document`'s prompt goes before documents, `encode_query`'s before queries, and they differ."""
    facts = facts_of(folder)
    asked = with_query_prompt(facts, Prompts())
    assert (facts.document_prompt, asked.document_prompt) == (PROMPTS["document"], PROMPTS["query"])
    assert (cosines(embedded(facts), embedded(asked)) < 0.99).all()


def test_choices(folder: Path) -> None:
    """A prompt is chosen by name or text; an instruction makes the query prompt and leaves the documents' alone."""
    assert facts_of(folder, prompt_name="other").document_prompt == PROMPTS["other"]
    assert facts_of(folder, prompt="passage: ").document_prompt == "passage: "
    assert facts_of(folder, prompt="").document_prompt == ""
    assert facts_of(folder, query_prompt="query: ").query_prompt == "query: "
    told = facts_of(folder, instruction="find proofs")
    assert (told.document_prompt, told.query_prompt) == (PROMPTS["document"], "Instruct: find proofs\nQuery:")
    assert with_query_prompt(told, Prompts(text="q: ")).document_prompt == "q: "


def test_prompts_of_a_card_are_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """E5's files name no prompts: who does not choose is told what the authors use, once and only then."""
    edit(folder, "config_sentence_transformers.json", prompts={"query": "", "document": ""})
    (tmp_path / "intfloat").mkdir()
    shutil.copytree(folder, tmp_path / "intfloat" / "e5-base-v2")
    monkeypatch.chdir(tmp_path)
    config = JobConfig(("in",), Path("out"), "intfloat/e5-base-v2")
    for chosen in (
        replace(config, prompt=""),
        replace(config, query_prompt="query: "),
        replace(config, model=str(folder)),
    ):
        model_of(chosen)
    assert not caplog.text
    assert model_of(config).document_prompt == ""
    assert "Add --prompt 'passage: ' --query-prompt 'query: '" in caplog.text


def test_instruction_ends_as_the_model_own_do(folder: Path) -> None:
    """Where the model's own instructions end with a space, so does the user's."""
    edit(folder, "config_sentence_transformers.json", prompts={"web": "Instruct: search the web\nQuery: "})
    assert facts_of(folder, instruction="find proofs").query_prompt == "Instruct: find proofs\nQuery: "


def test_wrong_choices(folder: Path) -> None:
    """A prompt that the model does not have is refused with those it has; two choices at once are refused too."""
    with pytest.raises(UsageError, match="no prompt named 'passage': it has query, document, other"):
        facts_of(folder, prompt_name="passage")
    with pytest.raises(UsageError, match="--prompt-name and --prompt contradict each other"):
        facts_of(folder, prompt_name="other", prompt="x")
    with pytest.raises(UsageError, match="--prompt and --instruction contradict each other"):
        Prompts(text="x", instruction="y")
    with pytest.raises(UsageError, match="--query-prompt and --instruction contradict each other"):
        facts_of(folder, query_prompt="x", instruction="y")


def test_chunks_under_a_prompt(folder: Path, texts: list[str]) -> None:
    """Each chunk is the ids of prompt and chunk as one text, within the limit; spans are over the document alone."""
    from transformers import AutoTokenizer

    facts, theirs = facts_of(folder), AutoTokenizer.from_pretrained(folder)
    chunks = Chunker(WordTokenizer(folder), 40, prompt=facts.document_prompt)(texts[:40])
    assert len(chunks) > 80
    assert chunks.n_tokens.max() <= 40
    for i, ids in enumerate(chunks.ids()):
        span = texts[chunks.doc[i]][chunks.start[i] : chunks.end[i]]
        assert ids.tolist() == theirs.encode(facts.document_prompt + span)
    for doc, text in enumerate(texts[:40]):
        own = chunks.doc == doc
        covered = "".join(text[a:b] for a, b in zip(chunks.start[own], chunks.end[own], strict=True))
        assert covered == (text if own.any() else "")


def test_run_and_search(embed_corpus: Command, folder: Path, tmp_path: Path) -> None:
    """`run` uses and hashes the document prompt and records the query prompt, which `search` and `verify` go by."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps({"id": text, "text": text}) + "\n" for text in TEXTS))
    line = ("run", source, out, "--model", folder, "--id-column", "id", "--index", "flat", "--devices", "cpu")
    done = embed_corpus(*line, "--prompt-name", "other", "--instruction", "find")
    assert done.returncode == 0, done.stderr
    vectors = np.array(ds.dataset(out / "data").to_table()["embedding"].to_pylist(), np.float32)
    np.testing.assert_allclose(vectors, embedded(facts_of(folder, prompt_name="other")), atol=1e-6)
    opened = open_output(out)
    assert opened.record.space.prompt == PROMPTS["other"]
    assert opened.last_run.query_prompt == "Instruct: find\nQuery:"
    told = embedded(facts_of(folder, prompt="Instruct: find\nQuery:"))
    np.testing.assert_allclose(QueryEncoder(opened).embed(TEXTS), told, atol=1e-6)
    plain = QueryEncoder(opened, prompts=Prompts(name="query")).embed(TEXTS)
    np.testing.assert_allclose(plain, embedded(facts_of(folder, prompt_name="query")), atol=1e-6)
    found = embed_corpus("search", out, TEXTS[1], "--prompt-name", "other")
    assert found.stdout.split()[0] == "1.0000"  # as a document
    assert all(check.ok for check in verify(opened.layout.root, 3).checks)
    again = JobConfig((str(source),), out, str(folder), devices="cpu", id_column="id", prompt_name="other")
    assert prepare(again).todo == ()
    assert open_output(out).last_run.query_prompt == PROMPTS["query"]
    with pytest.raises(UsageError, match=r"space\.prompt"):
        prepare(replace(again, prompt_name=None, prompt="yet another : "))
