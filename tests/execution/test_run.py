"""`embed-corpus run` from end to end, with a tiny model, in real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from kit.tiny import CORPUS, Command


def test_smoke(embed_corpus: Command, tiny_model: Path, tmp_path: Path) -> None:
    """A run over all samples gives a dataset with one row a chunk, and says what it did."""
    done = embed_corpus("run", CORPUS, tmp_path / "out", "--model", tiny_model, "--id-column", "id")
    assert done.returncode == 0, done.stderr
    table = ds.dataset(tmp_path / "out" / "data").to_table()
    assert len(set(table["doc_id"].to_pylist())) == 1420
    assert "1,422 rows: 1,420 documents" in done.stdout


def test_ids_in_two_shards_are_reported_or_refused(embed_corpus: Command, tiny_model: Path, tmp_path: Path) -> None:
    """An id that two shards share is reported by default, and exit code 4 with --on-duplicate error."""
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(f'{{"id": "same", "text": "one"}}\n{{"id": "{name}", "text": "two"}}\n')
    line = ("run", tmp_path / "*.jsonl", tmp_path / "out", "--model", tiny_model, "--id-column", "id")
    refused = embed_corpus(*line, "--on-duplicate", "error")
    assert refused.returncode == 4
    assert "1 documents have an id that stands in another shard too, e.g. 'same'" in refused.stderr
    reported = embed_corpus(*line)
    assert reported.returncode == 0
    assert "'same'" in reported.stderr
    assert embed_corpus(*line, "--on-duplicate", "error").returncode == 4


def test_huge_document(embed_corpus: Command, tiny_model: Path, tmp_path: Path, long_texts: list[str]) -> None:
    """A document too long to be held as one comes out whole: spans, texts and numbers, however it was loaded."""
    pages = " ☃ ".join(long_texts)
    huge = pages * (1_300_000 // len(pages) + 1)
    rows = [
        {"id": "a", "text": "first"},
        {"id": "b", "text": ""},
        {"id": "huge", "text": huge},
        {"id": "c", "text": "last"},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = []
    for loaders in ("0", "1"):
        line = ("run", tmp_path / "in.jsonl", tmp_path / loaders, "--model", tiny_model, "--id-column", "id")
        done = embed_corpus(*line, "--keep-text", "--loader-workers", loaders)
        assert done.returncode == 0, done.stderr
        assert "4 rows: 3 documents" in done.stdout
        files += (tmp_path / loaders / "data").iterdir()
    assert files[0].read_bytes() == files[1].read_bytes()
    table = pq.read_table(files[0])
    assert set(table["doc_id"].to_pylist()) == {"a", "huge", "c"}
    found = table.filter(pc.equal(table["doc_id"], "huge"))
    assert found["chunk_index"].to_pylist() == list(range(len(found)))
    spans = zip(*(found[name].to_pylist() for name in ("char_start", "char_end")), strict=True)
    assert [huge[start:end] for start, end in spans] == found["text"].to_pylist()
    assert "".join(found["text"].to_pylist()) == huge


@pytest.mark.parametrize("options", [("--loader-workers", "2"), ("--devices", "cpu,cpu", "--loader-workers", "1")])
def test_same_bytes_however_many_workers_and_loaders(
    embed_corpus: Command, tiny_model: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Parts are the same bytes with loader processes or none, and with one worker or two."""
    parts = []
    for name, more in (("plain", ()), ("other", options)):
        line = ("run", CORPUS, tmp_path / name, "--model", tiny_model, "--keep-text", "--limit", "700")
        done = embed_corpus(*line, *more)
        assert done.returncode == 0, done.stderr
        parts.append({p.name: p.read_bytes() for p in (tmp_path / name / "data").iterdir()})
    assert len(parts[0]) == 2
    assert parts[0] == parts[1]
    report = json.loads(next((tmp_path / "other" / "_embed" / "runs").iterdir()).read_text())
    assert len(report["workers"]) == len(options) // 2
    stages = {stage for worker in report["workers"] for stage in worker["seconds"]}
    assert stages == {"read", "chunk", "pack", "wait", "encode", "held", "write", "commit"}
    assert report["verdict"]
