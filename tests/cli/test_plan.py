"""`embed-corpus plan`: what it says, and that a run does just that."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest

from embed_corpus.feed.packing import CPU_BUDGET, Packer, pack_all
from embed_corpus.job.speeds import note_rate
from embed_corpus.model.facts import read_facts
from kit.ended import Call
from kit.tiny import CORPUS, Command


@pytest.fixture(autouse=True)
def _no_speeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing was measured yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def planned(call: Call, tiny_model: Path) -> Any:
    """Plan with the tiny model on the CPU; returns the JSON."""

    def plan(*args: object) -> dict[str, Any]:
        ended = call("plan", "--model", tiny_model, "--devices", "cpu", "--json", *args)
        assert ended.code == 0, ended.err
        report: dict[str, Any] = json.loads(ended.out)
        return report

    return plan


def test_a_run_does_what_was_planned(planned: Any, embed_corpus: Command, tiny_model: Path, tmp_path: Path) -> None:
    """Where every row is tokenised, documents, chunks, tokens, shards and batches are those of the run itself."""
    flags = ("--id-column", "id", "--chunk-tokens", 48, "--chunk-overlap", 8, "--keep", "id")
    plan = planned(CORPUS, *flags, "--sample", 2000)
    out = tmp_path / "out"
    done = embed_corpus("run", CORPUS, out, "--model", tiny_model, "--devices", "cpu", *flags)
    assert done.returncode == 0, done.stderr
    (report,) = (json.loads(file.read_text()) for file in (out / "_embed" / "runs").iterdir())
    counts = report["total"]
    assert plan["exact"]
    for name in ("documents", "chunks", "tokens"):
        assert plan[name] == {"value": counts[name], "error": 0}, name
    assert (plan["rows"], plan["shards"]) == (counts["rows"], report["planned"])
    parts = sorted((out / "data").iterdir())
    lengths = np.concatenate([ds.dataset(part).to_table(["n_tokens"])["n_tokens"].to_numpy() for part in parts])
    batches = pack_all(Packer(CPU_BUDGET), [np.zeros(n, np.int32) for n in lengths])
    assert plan["batches"]["value"] == len(batches)
    assert plan["output_bytes"] == pytest.approx(sum(part.stat().st_size for part in parts), rel=0.1)
    assert sum(b["count"] for b in plan["chunk_tokens_seen"]) == counts["chunks"]


@pytest.mark.heavy
def test_what_is_cut_off_is_counted(planned: Any) -> None:
    """With --long truncate every document is one chunk, and those that are longer are told."""
    split = planned(CORPUS, "--sample", 2000)
    cut = planned(CORPUS, "--sample", 2000, "--long", "truncate")
    assert cut["chunks"]["value"] == cut["documents"]["value"] == split["documents"]["value"]
    longer = sum(b["count"] for b in split["document_tokens"] if b["least"] > 64)
    assert cut["truncated"]["value"] == pytest.approx(longer, abs=5)
    assert split["truncated"]["value"] == 0


@pytest.mark.heavy
def test_text_says_what_json_says(call: Call, planned: Any, tiny_model: Path) -> None:
    """The numbers on the terminal are those of --json, and the same each time."""
    line = ("plan", CORPUS, "--model", tiny_model, "--devices", "cpu", "--sample", 1000)
    ended = call(*line)
    plan = planned(CORPUS, "--sample", 1000)
    assert call(*line).out == ended.out
    assert f"of {plan['rows']:,} rows in 5 files, 5 shards" in ended.out
    assert f"{plan['characters']['value']:,.0f} characters" in ended.out
    tokens, error = plan["tokens"]["value"], plan["tokens"]["error"]
    assert f"{round(tokens, -3):,.0f} ± {200 * error / tokens:.1f} %" in ended.out
    assert f"estimated from {plan['tokenised']} documents tokenised" in ended.out


def test_output_fits_a_terminal(call: Call, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line but those with a path is wider than 80 characters."""
    note_rate(read_facts(tiny_model), "fp32", "cpu", 64, 98_765.0, 1024)
    ended = call("plan", CORPUS, "--model", tiny_model, "--devices", "cpu", "--vector-type", "float16")
    assert max(len(line) for line in ended.out.splitlines() if str(tiny_model) not in line) <= 80


def test_limit(planned: Any) -> None:
    """--limit plans for the first rows alone."""
    assert planned(CORPUS, "--limit", 30)["rows"] == 30


def test_no_document(planned: Any, call: Call, tiny_model: Path, tmp_path: Path) -> None:
    """An input of empty rows is planned as what it is: nothing."""
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": " "}\n')
    plan = planned(tmp_path / "a.jsonl")
    assert (plan["rows"], plan["documents"]["value"], plan["tokens"]["value"]) == (2, 0, 0)
    assert "documents  0" in call("plan", tmp_path / "a.jsonl", "--model", tiny_model, "--devices", "cpu").out


# ── time ──────────────────────────────────────────────────────────────────────────────────


def test_a_speed_that_is_not_known_is_not_guessed(call: Call, tiny_model: Path) -> None:
    """Before anything was measured the plan gives no time, but the command that measures."""
    ended = call("plan", CORPUS, "--model", tiny_model, "--devices", "cpu", "--chunk-tokens", 32)
    assert "no speed known for this model on this machine yet:" in ended.out
    assert f"`embed-corpus bench --model {tiny_model} --chunk-tokens 32 --devices cpu` measures it" in ended.out
    assert "time" not in ended.out


@pytest.mark.heavy
def test_bench_makes_the_time_known(call: Call, planned: Any, tiny_model: Path) -> None:
    """After `bench` the time is the tokens over the speed that it measured."""
    ended = call("bench", "--model", tiny_model, "--devices", "cpu", "--tokens", 500, "--rounds", 1, "--json")
    measured = json.loads(ended.out)["tokens_per_s"]
    plan = planned(CORPUS)
    assert plan["seconds"] == pytest.approx(plan["tokens"]["value"] / measured)
    assert (plan["speeds"][0]["devices"], plan["speeds"][0]["whole_run"]) == (["cpu"], False)


def test_several_devices(planned: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices share the work, but no more of them than there are shards."""
    from embed_corpus.job import speeds as rates
    from embed_corpus.verbs import plan as estimate

    devices = tuple(f"cuda:{i}" for i in range(8))
    monkeypatch.setattr(estimate, "resolve_devices", lambda _: devices)
    monkeypatch.setattr(estimate, "resolve_precision", lambda *_: "fp16")
    for module in (estimate, rates):
        monkeypatch.setattr(module, "device_kind", lambda _: "cuda 9.0")
    note_rate(read_facts(tiny_model), "fp16", "cuda:0", 64, 1000.0, 8192)
    plan = planned(CORPUS)
    assert plan["token_budget"] == 8192
    assert plan["speeds"][0]["seconds"] == pytest.approx(plan["tokens"]["value"] / 1000)
    assert plan["seconds"] == pytest.approx(plan["tokens"]["value"] / 5000)


# ── what does not fit ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ("--text-column txt", 4),
        ("--id-column txt", 4),
        ("--chunk-tokens 65", 2),
        ("--chunk-tokens 2", 2),
        ("--devices 99", 2),
        ("--limit 0", 2),
        ("--model gone/a/b", 2),
    ],
)
def test_says_what_run_says(call: Call, line: list[object], flags: str, code: int) -> None:
    """What a run would refuse, the plan refuses, with the same words and exit code."""
    _, corpus, _, *model = line
    run, plan = call(*line, *flags.split()), call("plan", corpus, *model, *flags.split())
    assert run.code == plan.code == code
    assert plan.err.splitlines()[-1] == run.err.splitlines()[-1]
    assert "error: " in plan.err


def test_missing_input(call: Call, tiny_model: Path, tmp_path: Path) -> None:
    """An INPUT that is not there ends with code 4 and its name."""
    ended = call("plan", tmp_path / "gone", "--model", tiny_model)
    assert ended.code == 4
    assert f"INPUT '{tmp_path / 'gone'}' does not exist" in ended.err


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_model_that_lacks_a_file(call: Call, corpus: Path, tiny_model: Path, tmp_path: Path, name: str) -> None:
    """A model that a run could not load is refused by the plan too, naming what is missing."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in tiny_model.rglob("*"):
        if file.is_file() and file.name != name:
            (folder / file.relative_to(tiny_model)).parent.mkdir(exist_ok=True)
            (folder / file.relative_to(tiny_model)).write_bytes(file.read_bytes())
    ended = call("plan", corpus, "--model", folder)
    assert ended.code == 2
    assert name.removeprefix("model") in ended.err


@pytest.mark.process
def test_no_torch(tiny_model: Path) -> None:
    """A plan loads neither torch nor transformers: it is there at once."""
    script = (
        "import sys; from embed_corpus.cli import main\n"
        "try: main()\n"
        "finally: print(','.join({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    line = [sys.executable, "-c", script, "plan", str(CORPUS), "--model", str(tiny_model), "--sample", "50"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.splitlines()[-1].split(","))
    assert "tokenizers" in loaded
    assert loaded & {"torch", "transformers", "faiss"} == set()
