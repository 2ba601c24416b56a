"""`--retry-rejects`: only what has no vector yet is embedded, and the result is that of a whole redo, byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from embed_corpus.engine.fake import FakeEncoder
from embed_corpus.execution.loader import Loader
from embed_corpus.execution.pipeline import Stages, embed_shards
from embed_corpus.execution.reuse import Reuse
from embed_corpus.job.config import JobConfig
from embed_corpus.job.prepare import Job, prepare
from embed_corpus.model.facts import read_facts
from embed_corpus.source import read
from embed_corpus.vectors.ranges import Ranges
from kit.places import at
from kit.tiny import CORPUS, Command

pytestmark = pytest.mark.heavy
N_ROWS = 120


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of many lengths; the longest has its id before a short one, and some rows are bad for good."""
    texts = [json.loads(line)["text"] for line in (CORPUS / "cranfield-2.jsonl").read_text().splitlines()]
    rows = [{"id": str(i), "text": text[: 300 + 40 * (i % 40)]} for i, text in enumerate(filter(None, texts[:N_ROWS]))]
    longest = max(range(60), key=lambda i: len(rows[i]["text"]))
    rows[70]["id"] = rows[longest]["id"]
    lines = [json.dumps(row) for row in rows]
    lines[30], lines[31] = "{bad", '{"id": "blank", "text": " "}'
    file = tmp_path_factory.mktemp("retry") / "a.jsonl"
    file.write_text("\n".join(lines))
    return file


class Bench:
    """One job in this process, without a model's forward pass; row groups are small, so that a part has many."""

    def __init__(self, source: Path, model: Path, vector_type: str) -> None:
        self.fixed = (str(source),), str(model)
        self.encoder = FakeEncoder(read_facts(model).dim)
        self.vector_type = vector_type

    def prepared(self, out: Path, *, retry: bool = False) -> Job:
        """Settle the job as the command does."""
        (inputs, model), fixed = self.fixed, {"devices": "cpu", "id_column": "id", "keep_text": True}
        return prepare(JobConfig(inputs, out, model, vector_type=self.vector_type, retry_rejects=retry, **fixed))

    def run(self, job: Job, numerics: str = "n") -> int:
        """Embed what is to do; returns how many chunks were embedded."""
        before, form = self.encoder.n_chunks, replace(job.form, group_bytes=4 << 10)
        loader = Loader(job.recipe, job.config.columns, {}, workers=0)
        if self.vector_type == "int8":
            form = replace(form, ranges=Ranges(*np.float32([[-0.5] * form.dim, [0.5] * form.dim])))
        stages = Stages(loader, self.encoder, form, job.layout, numerics, Reuse(job.earlier, numerics))
        embed_shards(job.todo, stages, lambda _: None)
        return self.encoder.n_chunks - before


@pytest.fixture(params=["float32", "float16", "int8", "ubinary"])
def bench(source: Path, tiny_model: Path, request: pytest.FixtureRequest) -> Bench:
    """The job."""
    return Bench(source, tiny_model, request.param)


def files(out: Path) -> dict[str, bytes]:
    """Part and record of rejects."""
    found = [*(out / "data").iterdir(), *(out / "_embed" / "rejects").iterdir()]
    return {path.name: path.read_bytes() for path in found}


def n_chunks(out: Path) -> int:
    """Rows of the one part."""
    return pq.read_metadata(next((out / "data").iterdir())).num_rows


@pytest.fixture
def begun(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An OUT whose longest documents were rejected; what is embedded of it besides lies in `clean`."""
    bench.run(bench.prepared(tmp_path / "clean"))
    with monkeypatch.context() as patch:
        patch.setattr(read, "MAX_DOC_BYTES", 1500)
        bench.run(bench.prepared(tmp_path / "out"))
    assert 0 < n_chunks(tmp_path / "out") < n_chunks(tmp_path / "clean")
    return tmp_path / "out"


def test_only_what_was_rejected_is_embedded(bench: Bench, begun: Path, tmp_path: Path) -> None:
    """Accepted rows keep their vectors, an id that a row before now takes is a reject; the bytes are a whole redo's."""
    old = pq.read_table(next((begun / "data").iterdir()), columns=["doc_id", "chunk_index", "content_hash"])
    new = pq.read_table(
        next((tmp_path / "clean" / "data").iterdir()), columns=["doc_id", "chunk_index", "content_hash"]
    )
    before = {tuple(row.values()) for row in old.to_pylist()}
    assert before - {tuple(row.values()) for row in new.to_pylist()}, "no document lost its place"
    expected = sum(tuple(row.values()) not in before for row in new.to_pylist())
    assert 0 < bench.run(bench.prepared(begun, retry=True)) == expected < n_chunks(begun)
    assert files(begun) == files(tmp_path / "clean")


def test_nothing_new_embeds_nothing(bench: Bench, begun: Path, tmp_path: Path) -> None:
    """Rows that stay rejected cost no batch, and change no byte."""
    bench.run(bench.prepared(begun, retry=True))
    assert bench.run(bench.prepared(begun, retry=True)) == 0
    assert files(begun) == files(tmp_path / "clean")


def flipped(job: Job) -> Job:
    """Damage the part that was set aside."""
    ((part,),) = job.earlier.values()
    content = bytearray(at(part.key).read_bytes())
    content[len(content) // 2] ^= 1
    at(part.key).write_bytes(content)
    return job


def other_numerics(job: Job) -> Job:
    """Let the part be of another machine."""
    return replace(job, earlier={shard: (replace(part, numerics="m"),) for shard, (part,) in job.earlier.items()})


def forgotten(job: Job) -> Job:
    """Kill the retry when it has set the part aside; what goes on knows nothing of it."""
    return replace(job, earlier={})


def gone(job: Job) -> Job:
    """Let someone clear the quarantine away."""
    shutil.rmtree(at(job.layout.quarantine))
    return job


@pytest.mark.parametrize("change", [flipped, other_numerics, forgotten, gone])
@pytest.mark.parametrize("bench", ["float32"], indirect=True)
def test_whole_redo_where_nothing_can_be_taken_over(
    bench: Bench, begun: Path, tmp_path: Path, change: Callable[[Job], Job]
) -> None:
    """Damaged, made elsewhere, or forgotten by a kill: all is embedded again, to the same bytes."""
    job = change(bench.prepared(begun, retry=True))
    assert bench.run(job) == n_chunks(begun)
    assert files(begun) == files(tmp_path / "clean")


@pytest.mark.parametrize("bench", ["float32"], indirect=True)
def test_parts_without_their_note_are_done_whole(bench: Bench, begun: Path, tmp_path: Path) -> None:
    """Where no note tells under what numerics a part was made, nothing is taken over."""
    shutil.rmtree(begun / "_embed" / "stats")
    assert bench.run(bench.prepared(begun, retry=True)) == n_chunks(begun)
    assert files(begun) == files(tmp_path / "clean")


def test_command(embed_corpus: Command, source: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Through worker and loader processes the same: the run says what it took over, and verify finds all sound."""
    line = ("run", source, tmp_path / "out", "--model", tiny_model, "--id-column", "id", "--devices", "cpu")
    first = embed_corpus(*line)
    assert first.returncode == 0, first.stderr
    before = files(tmp_path / "out")
    again = embed_corpus(*line, "--retry-rejects", "--loader-workers", "1")
    assert again.returncode == 0, again.stderr
    assert "1 of them new" in again.stdout
    (tokens,) = np.unique(pq.read_table(tmp_path / "out" / "data", columns=["n_tokens"])["n_tokens"].to_numpy().sum())
    assert f"vectors of {tokens:,} tokens were taken over" in again.stdout
    assert files(tmp_path / "out") == before
