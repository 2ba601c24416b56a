"""Vector types end to end: the same ranges for all, an index that answers, the loss told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from embed_corpus import JobConfig, RunReport, run
from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.errors import OutputError
from embed_corpus.index.search import open_index, search
from embed_corpus.job.output import open_output
from embed_corpus.model.facts import read_facts
from embed_corpus.model.matryoshka import at_dim
from embed_corpus.sink.readback import vectors_of
from embed_corpus.sink.snapshot import latest_snapshot
from embed_corpus.store.layout import Layout
from embed_corpus.vectors.codec import codec_of
from embed_corpus.vectors.ranges import Ranges
from embed_corpus.verbs.query import QueryEncoder, encode_chunks
from embed_corpus.verbs.verify import verify
from kit.encoders import on_cpu
from kit.places import at
from kit.tiny import CORPUS

pytestmark = pytest.mark.process

DIM = 24


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of Cranfield."""
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(2):
        shutil.copy(CORPUS / f"cranfield-{i}.parquet", folder)
    return folder


def embedded(corpus: Path, out: Path, model: Path, kind: str, devices: str = "cpu", docs: str = "none") -> RunReport:
    """Embed the corpus, cut to 24 dimensions, and index it."""
    fields = {
        "dim": DIM,
        "force_dim": True,
        "vector_type": kind,
        "index": "flat",
        "id_column": "id",
        "doc_vectors": docs,
    }
    return run(JobConfig((str(corpus),), out, str(model), devices=devices, **fields))


@pytest.fixture(scope="module")
def floats(corpus: Path, tiny_model: Path) -> NDArray[np.float32]:
    """The vectors as they are before they are stored, made in this process."""
    texts = [
        text for file in sorted(corpus.iterdir()) for text in pq.read_table(file)["text"].to_pylist() if text.strip()
    ]
    encoder = on_cpu(at_dim(read_facts(tiny_model), DIM))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more only wait for each other on so small a model
    vectors = encode_chunks(encoder, Chunker(WordTokenizer(tiny_model), 64)(texts))
    torch.set_num_threads(threads)
    return vectors


@pytest.mark.parametrize(("kind", "least_kept", "least_found"), [("int8", 0.9, 8), ("ubinary", 0.0, 0)])
def test_a_run_of_each_type(
    corpus: Path,
    tiny_model: Path,
    tmp_path: Path,
    floats: NDArray[np.float32],
    kind: str,
    least_kept: float,
    least_found: int,
) -> None:
    """Parts hold the codes of float32's vectors and pass every check; the index answers; the loss is told."""
    out = tmp_path / "out"
    devices, docs = ("cpu,cpu", "none") if kind == "int8" else ("cpu", "mean")
    report = embedded(corpus, out, tiny_model, kind, devices, docs)
    assert report.loss is not None
    assert least_kept < report.loss.neighbours_at_10 < 1
    assert 2000 <= report.loss.sample <= report.total.chunks
    assert report.lines()[-2].startswith(f"{kind}: ")
    assert json.loads(next(at(Layout(out).runs).iterdir()).read_text())["loss"]["vector_type"] == kind
    opened, table = open_output(out), ds.dataset(out / "data").to_table()
    checks = {check.name: check for check in verify(opened.layout.root, sample=12).checks}
    documents = ["documents"] if docs == "mean" else []
    assert list(checks) == ["accounting", "parts", *documents, "index", "sample"]
    assert all(check.ok for check in checks.values()), checks
    assert "12 to the same bytes" in checks["sample"].detail
    codec = codec_of(pq.read_schema(out / "data" / Layout(out).parts()[0]))
    assert (vectors_of(table["embedding"]) != codec.encode(floats)).mean() < 1e-3  # threads may move a last bit
    query = QueryEncoder(opened).embed(["heat transfer in hypersonic flow"])
    assert query.shape == (1, DIM)
    found = [(hit.doc_id, hit.chunk_index) for hit in search(open_index(opened.layout), query, 10)[0]]
    best = table.take(np.argsort(-(floats @ query[0]), kind="stable")[:10])
    expected = set(zip(best["doc_id"].to_pylist(), best["chunk_index"].to_pylist(), strict=True))
    assert len(expected & set(found)) >= least_found
    (own,) = search(open_index(opened.layout), floats[5:6], 300)
    assert (own[0].doc_id, own[0].score) == (table["doc_id"][5].as_py(), pytest.approx(1, abs=0.01)) or kind != "int8"
    assert [hit.score for hit in own] == sorted((hit.score for hit in own), reverse=True)
    if kind == "int8":
        _later_night(corpus, tiny_model, tmp_path, out)


def _later_night(corpus: Path, model: Path, folder: Path, out: Path) -> None:
    """Both workers took the same ranges, and so does a run over a grown corpus, even if their file was lost."""
    first = at(Layout(out).ranges).read_bytes()
    at(Layout(out).ranges).unlink()
    grown = Path(shutil.copytree(corpus, folder / "grown" / corpus.name))
    shutil.copy(CORPUS / "cranfield-2.jsonl", grown)
    assert embedded(grown, out, model, "int8", docs="mean").fresh_parts == 1
    assert at(Layout(out).ranges).read_bytes() == first
    kept = [codec_of(pq.read_schema(out / "data" / name)).ranges for name in Layout(out).parts()]
    ours = Ranges.from_json(json.loads(first))
    assert [ours.same(ranges) for ranges in kept] == [True] * 3
    (part,) = (check for check in verify(out, sample=0).checks if check.name == "parts")
    assert part.ok
    (documents,) = (check for check in verify(out, sample=0).checks if check.name == "documents")
    assert documents.ok  # the older parts' too, which were made without them
    n_rows = sum(len(pq.read_table(file, partitioning=None)) for file in at(Layout(out).documents).iterdir())
    assert n_rows == latest_snapshot(Layout(out)).counts.documents
    at(Layout(out).ranges).write_bytes(first.replace(b"0.", b"1.", 1))
    (part,) = (check for check in verify(out, sample=0).checks if check.name == "parts")
    assert "its ranges are not those of" in part.detail
    shutil.copy(CORPUS / "cranfield-2.jsonl", grown / "more.jsonl")
    with pytest.raises(OutputError, match="does not hold the ranges that parts of OUT were made with"):
        embedded(grown, out, model, "int8")
