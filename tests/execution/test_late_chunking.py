"""`--late-chunking` from end to end: parts, resume, verify, plan, and where it is refused."""

from __future__ import annotations

import json
import shutil
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch

from embed_corpus.errors import UsageError
from embed_corpus.execution.run import run
from embed_corpus.job.config import JobConfig
from embed_corpus.job.prepare import prepare
from embed_corpus.report.summary import RunReport
from embed_corpus.vectors.codec import codec_of
from embed_corpus.verbs.plan import plan
from embed_corpus.verbs.verify import verify
from kit.started import contents
from kit.tiny import SIZES, edit, save_model, wordpiece

pytestmark = pytest.mark.process

CHUNK, LIMIT = 32, 300


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A one-layer random BERT with mean pooling that takes 300 tokens."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(**SIZES, max_position_embeddings=LIMIT)
    return save_model(tmp_path_factory.mktemp("bert"), BertModel(config).eval(), wordpiece(texts), max_length=LIMIT)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, texts: list[str], long_texts: list[str]) -> Path:
    """Two shards: short and middling texts with a row that is rejected, and three long pages."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, rows in (("a", [text[: 40 * i] for i, text in enumerate(texts[:40], 1)]), ("b", long_texts[:3])):
        lines = [json.dumps({"id": f"{name}{i}", "text": text[:9000]}) for i, text in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("\n".join([*lines, *(["{bad"] if name == "a" else [])]))
    return folder


def config(corpus: Path, out: Path, model: Path, **options: Any) -> JobConfig:
    """The job, on the CPU."""
    options = {"chunk_tokens": CHUNK, "id_column": "id", "late_chunking": True} | options
    return JobConfig((str(corpus),), out, str(model), devices="cpu", **options)


@pytest.fixture(scope="module")
def done(corpus: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunReport]:
    """An OUT, and what its run told."""
    out = tmp_path_factory.mktemp("late") / "out"
    return out, run(config(corpus, out, model, keep_text=True))


def test_parts(done: tuple[Path, RunReport], corpus: Path, model: Path) -> None:
    """A chunk has its document's hash, and tokens are those the model saw; `plan` foretells them all."""
    out, report = done
    table = ds.dataset(out / "data").to_table().to_pylist()
    documents: dict[str, list[dict[str, Any]]] = {}
    for row in table:
        documents.setdefault(row["doc_id"], []).append(row)
    assert sum(len(rows) > 1 for rows in documents.values()) > 20
    for rows in documents.values():
        assert max(row["n_tokens"] for row in rows) <= CHUNK
        whole = "".join(row["text"] for row in rows)
        assert {row["content_hash"] for row in rows} == {blake2b(whole.encode(), digest_size=16).digest()}
    told = plan(config(corpus, None, model), 1000)
    assert told.tokens.value == report.total.tokens == sum(row["n_tokens"] for row in table)
    assert told.chunks.value == len(table)
    plain = plan(config(corpus, None, model, late_chunking=False), 1000)
    assert told.tokens.value < plain.tokens.value
    assert f"--chunk-tokens {LIMIT}" in told.bench


def test_same_bytes_after_a_resume(done: tuple[Path, RunReport], corpus: Path, model: Path, tmp_path: Path) -> None:
    """Other batches, loader processes, a part that is gone, and rejects tried again: the parts are the same bytes."""
    out = Path(shutil.copytree(done[0], tmp_path / "out"))
    expected = contents(out)
    next((out / "data").glob("b-*")).unlink()
    options = {"keep_text": True, "batch_tokens": 4096, "loader_workers": 1, "retry_rejects": True}
    report = run(config(corpus, out, model, **options))
    assert report.fresh_parts == 2
    assert "taken over" not in "\n".join(report.lines())
    assert contents(out) == expected
    with pytest.raises(UsageError, match="late_chunking: 300 there, null now"):
        prepare(config(corpus, out, model, keep_text=True, late_chunking=False))


def test_verify_embeds_whole_passes_again(done: tuple[Path, RunReport], tmp_path: Path) -> None:
    """Sampled vectors are found again to the byte; those that stand one row too low are found out, each of them."""
    out = Path(shutil.copytree(done[0], tmp_path / "out"))
    checks = {check.name: check for check in verify(out, sample=40).checks}
    assert all(check.ok for check in checks.values()), checks
    assert "40 to the same bytes" in checks["sample"].detail
    part = next((out / "data").glob("b-*"))
    table = pq.read_table(part)
    order = np.roll(np.arange(len(table)), 1)
    at = table.schema.get_field_index("embedding")
    pq.write_table(table.set_column(at, table.field(at), table["embedding"].take(pa.array(order))), part)
    (found,) = (check for check in verify(out, sample=40).checks if check.name == "sample")
    assert not found.ok
    assert "20 of 20 sampled vectors have other bytes" in found.detail


def test_codes(done: tuple[Path, RunReport], corpus: Path, model: Path, tmp_path: Path) -> None:
    """int8 has its ranges from vectors of whole passes, so that nearly none of them lies outside."""
    out = tmp_path / "out"
    run(config(corpus, out, model, vector_type="int8"))
    assert all(check.ok for check in verify(out, sample=20).checks)
    floats = np.stack(ds.dataset(done[0] / "data").to_table()["embedding"].to_numpy())
    ranges = codec_of(pq.read_schema(next((out / "data").iterdir()))).ranges
    assert ranges is not None
    within = ((floats >= ranges.minimum) & (floats <= ranges.maximum)).mean()
    assert within > 0.985  # 0.995 to 0.998, as the draw goes; 0.972 where chunks were sampled without their pass


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {}, "the state of one token, the first"),
        (
            {"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False},
            {},
            "the last (lasttoken pooling), which chunks that go through it together do not have each",
        ),
        ({"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": False}, {}, "this model has max pooling"),
        ({}, {"chunk_tokens": LIMIT}, "the model takes 300 tokens, no more than a chunk of 300"),
        ({}, {"prompt": "passage: "}, "the document prompt 'passage: ' would stand before the first chunk"),
        ({}, {"long": "truncate"}, "each token once: drop it, or --long truncate."),
        ({}, {"chunk_overlap": 4}, "each token once: drop it, or --chunk-overlap."),
    ],
)
def test_refused(
    corpus: Path, model: Path, tmp_path: Path, changes: dict[str, bool], options: dict[str, Any], message: str
) -> None:
    """Where late chunking has no meaning it is refused with the reason, before anything is written."""
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    edit(folder, "1_Pooling/config.json", **changes)
    with pytest.raises(UsageError) as refused:
        prepare(config(corpus, tmp_path / "out", folder, **options))
    assert str(refused.value).startswith("--late-chunking")
    assert message in str(refused.value)
    assert not (tmp_path / "out").exists()
