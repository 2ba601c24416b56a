"""The package from Python: every command is a function that works from a script, typed and documented."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import embed_corpus
from embed_corpus import errors
from kit.source_files import write_jsonl

SCRIPT = """
import io, json, sys
import embed_corpus

corpus, out, model, queries, qrels = sys.argv[1:]
job = embed_corpus.JobConfig(input=(corpus,), output=out, model=model, devices="cpu", id_column="id", keep=("n",))
told = {"plan": embed_corpus.plan(embed_corpus.JobConfig((corpus,), model=model, devices="cpu")).rows}
told["run"] = embed_corpus.run(job, io.StringIO()).snapshot
told["index"] = embed_corpus.build_index(out, "flat").type
told["status"] = embed_corpus.status(out).lines()[0]
told["rejects"] = [reject["reason"] for reject in embed_corpus.rejects(out)]
told["verify"] = embed_corpus.verify(out, 5).ok
told["repair"] = embed_corpus.repair(out).reasons
told["search"] = [hit.doc_id for hit in embed_corpus.search(out, "word 7", 1)]
result = embed_corpus.open_result(out)
told["result"] = [result.search(f"word {i}", 1)[0].doc_id for i in range(3)]
told["where"] = [hit.doc_id for hit in result.search("word 1", where=("n >= 58",))]
told["all"] = [[hit.doc_id for hit in hits] for hits in result.search_all(["word 4", "word 5"], k=1, by="document")]
told["evaluate"] = embed_corpus.evaluate(out, queries, qrels).exact["MRR@10"]
told["bench"] = embed_corpus.bench(embed_corpus.JobConfig(model=model, devices="cpu"), 200, 0).precision
told["model"] = embed_corpus.describe_model(model, devices="cpu").family
try:
    embed_corpus.advise(out)
except embed_corpus.UsageError as error:
    told["advise"] = str(error)
try:
    embed_corpus.search(corpus, "word")
except embed_corpus.errors.UsageError as error:
    told["error"] = str(error)
print(json.dumps(told))
"""
"""Without `if __name__ == "__main__"`, as in a notebook's cells."""


@pytest.fixture(scope="module")
def told(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the functions tell a script that comes through stdin: its main module has no file."""
    folder = tmp_path_factory.mktemp("public")
    (folder / "corpus").mkdir()
    rows = [{"id": f"d{i}", "text": f"word {i}", "n": i} for i in range(60)]
    write_jsonl(folder / "corpus" / "a.jsonl", *rows, {"id": "empty", "text": "", "n": 60})
    write_jsonl(folder / "queries.jsonl", {"id": "q", "text": "word 9"})
    (folder / "qrels.tsv").write_text("q\td9\t1\n")
    paths = (folder / "corpus", folder / "out", tiny_model, folder / "queries.jsonl", folder / "qrels.tsv")
    command = [sys.executable, "-", *map(str, paths)]
    done = subprocess.run(command, input=SCRIPT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.process
def test_a_job_from_a_script(told: dict[str, Any]) -> None:
    """A job is planned, run, indexed and checked; `run` needs no guard, though its worker is another process."""
    assert (told["plan"], told["run"], told["index"]) == (61, 1, "Flat")
    assert told["status"] == "1 of 1 parts done, 0 of 61 rows left"
    assert told["rejects"] == ["empty"]
    assert (told["verify"], told["repair"]) == (True, [])


@pytest.mark.process
def test_questions_from_a_script(told: dict[str, Any]) -> None:
    """One question is a function; a result that is open answers many, also among some rows, and judges them."""
    assert told["search"] == ["d7"]
    assert told["result"] == ["d0", "d1", "d2"]
    assert sorted(told["where"]) == ["d58", "d59"]
    assert told["all"] == [["d4"], ["d5"]]
    assert told["evaluate"] == 1.0
    assert (told["model"], told["bench"]) == ("bert", "fp32")


@pytest.mark.process
def test_errors_from_a_script(told: dict[str, Any]) -> None:
    """What does not fit is an error that can be caught by its class."""
    assert "too few to advise on" in told["advise"]
    assert "is no result of embed-corpus" in told["error"]


def test_one_list_of_public_names() -> None:
    """What a type checker sees, what is imported when asked for and `__all__` are the same names; errors too."""
    tree = ast.parse(Path(embed_corpus.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        name.name: node.module.removeprefix("embed_corpus.")
        for node in ast.walk(guarded)
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
    }
    homes = {name: module for module, names in embed_corpus._HOMES.items() for name in names}
    assert seen == homes
    assert {*homes, "__version__"} == set(embed_corpus.__all__) <= set(dir(embed_corpus))
    assert set(errors.__all__) <= set(homes)


@pytest.mark.process
def test_import_is_light() -> None:
    """`import embed_corpus` and its errors load neither Arrow nor numpy, and no room of the package."""
    script = "import sys, embed_corpus; embed_corpus.UsageError; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in loaded if name.startswith("embed_corpus")} == {"embed_corpus", "embed_corpus.errors"}
    assert not {"numpy", "pyarrow", "torch", "click"} & set(loaded)


@pytest.mark.parametrize("name", sorted(set(embed_corpus.__all__) - {"__version__"}))
def test_public_names_are_typed_and_documented(name: str) -> None:
    """Each public name says what it is; a function, what it takes and returns; a result is frozen."""
    thing = getattr(embed_corpus, name)
    assert inspect.getdoc(thing)
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        assert "return" in thing.__annotations__
        assert set(signature.parameters) <= set(thing.__annotations__)
    elif is_dataclass(thing):
        assert thing.__dataclass_params__.frozen
        assert all(field.type for field in fields(thing))


def test_no_name_hides_a_room() -> None:
    """No function has the name of a subpackage: importing that would put it in the function's place."""
    rooms = {path.name for path in Path(embed_corpus.__file__).parent.iterdir()}
    assert not set(embed_corpus.__all__) & {name.removesuffix(".py") for name in rooms}
