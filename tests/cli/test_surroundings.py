"""What the machine gives or lacks: paths of any bytes, FAISS, a place to print to."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from embed_corpus.execution.run import run
from embed_corpus.job.config import JobConfig
from kit.ended import Call

NO_UTF8 = os.fsdecode(b"b\xe9d")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A result of one document whose model is gone, so that who asks for it first is found out."""
    folder = tmp_path_factory.mktemp("surroundings")
    (folder / "a.jsonl").write_text('{"id": "1", "text": "one"}\n')
    model = shutil.copytree(tiny_model, folder / "model")
    run(JobConfig((str(folder / "a.jsonl"),), folder / "out", str(model), devices="cpu"))
    shutil.rmtree(model)
    return folder / "out"


class _NoFaiss:
    """Finds no FAISS, as a loader that breaks on it does."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "faiss":
            raise ImportError("libgomp.so.1: cannot open shared object file")


@pytest.mark.process
@pytest.mark.parametrize("how", ["none", "broken"])
@pytest.mark.parametrize("command", ["search", "evaluate", "index", "advise", "run"])
def test_without_faiss(
    call: Call, line: list[object], out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, how: str
) -> None:
    """Without FAISS, or with a broken one, what needs it ends with 2 and the command that installs it."""
    (tmp_path / "queries.jsonl").write_text('{"id": "q", "text": "one"}\n')
    (tmp_path / "qrels.tsv").write_text("q\t0\t1\t1\n")
    if how == "none":
        monkeypatch.setitem(sys.modules, "faiss", None)
    else:
        monkeypatch.delitem(sys.modules, "faiss", raising=False)
        monkeypatch.setattr(sys, "meta_path", [_NoFaiss(), *sys.meta_path])
    queries = tmp_path / "queries.jsonl"
    ended = call(
        *{
            "run": [*line, "--index", "flat"],
            "search": ["search", out, "one"],
            "evaluate": ["evaluate", out, "--queries", queries, "--qrels", tmp_path / "qrels.tsv"],
        }.get(command, [command, out])
    )
    assert ended.code == 2
    assert "pip install 'embed-corpus[index]'" in ended.err


@pytest.mark.parametrize("command", ["run", "index", "search", "evaluate", "status", "verify", "advise"])
def test_out_that_is_no_utf8(call: Call, line: list[object], tmp_path: Path, command: str) -> None:
    """An OUT whose path is no UTF-8 is refused in one sentence, by each command, and nothing is made there."""
    out = tmp_path / NO_UTF8
    (tmp_path / "queries.jsonl").write_text('{"id": "q", "text": "one"}\n')
    (tmp_path / "qrels.tsv").write_text("q\t0\t1\t1\n")
    files = ["--queries", tmp_path / "queries.jsonl", "--qrels", tmp_path / "qrels.tsv"]
    line[2] = out
    ended = call(
        *{"run": line, "search": ["search", out, "one"], "evaluate": ["evaluate", out, *files]}.get(
            command, [command, out]
        )
    )
    assert ended.code == 2
    assert "no UTF-8" in ended.err or "does not exist" in ended.err
    assert not out.exists()


@pytest.mark.parametrize("command", ["run", "model"])
def test_model_that_is_no_utf8(call: Call, line: list[object], tiny_model: Path, tmp_path: Path, command: str) -> None:
    """A model folder whose path is no UTF-8 is refused in one sentence."""
    model = shutil.copytree(tiny_model, tmp_path / NO_UTF8)
    ended = call(*([*line[:-1], model] if command == "run" else ["model", model]))
    assert ended.code == 2
    assert "no UTF-8" in ended.err


@pytest.mark.process
def test_an_empty_query_names_its_line(call: Call, out: Path, tmp_path: Path) -> None:
    """A file of queries whose path is no UTF-8 is read; an empty query in it is told by its line."""
    queries = tmp_path / f"{NO_UTF8}.jsonl"
    queries.write_text('{"id": "a", "text": "one"}\n{"id": "b", "text": " "}\n')
    ended = call("search", out, "--queries", queries)
    assert ended.code == 4
    assert "line 2" in ended.err
    assert "the query is empty" in ended.err
