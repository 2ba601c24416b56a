"""Stop it anywhere, run the same line again: the same rows and the same bytes as an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from kit.started import MAIN, contents, parts, spawned, start, wait_for_parts
from kit.tiny import CORPUS, Command

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve shards: the JSONL sample under twelve names."""
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(12):
        shutil.copy(CORPUS / "cranfield-2.jsonl", folder / f"{i:02}.jsonl")
    return folder


IMPATIENT = f"from embed_corpus.execution import local\nlocal._HANG = 4.0\n{MAIN}"


def test_killed_runs_end_as_an_undisturbed_one(
    embed_corpus: Command, corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """kill -9 of the whole group, twice: finished parts stay untouched, the end result is the same bytes."""
    out, clean = tmp_path / "out", tmp_path / "clean"
    for n_parts in (1, 5):
        process = start(corpus, out, tiny_model)
        wait_for_parts(out, n_parts, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    before = parts(out)
    assert 5 <= len(before) < 12
    done = embed_corpus("run", corpus, out, "--model", tiny_model)
    assert done.returncode == 0, done.stderr
    assert f"{12 - len(before)} of them new" in done.stdout
    undisturbed = embed_corpus("run", corpus, clean, "--model", tiny_model)
    assert undisturbed.returncode == 0, undisturbed.stderr
    after = parts(out)
    assert {name: after[name] for name in before} == before
    assert contents(out) == contents(clean)
    assert not list((out / "_embed" / "tmp").iterdir())


@pytest.mark.slow
def test_a_killed_worker_is_replaced(embed_corpus: Command, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A worker that dies costs its open shards' time: another does them, and the result is the same bytes."""
    process = start(corpus, tmp_path / "out", tiny_model, "--devices", "cpu,cpu", "--loader-workers", "1")
    wait_for_parts(tmp_path / "out", 1, process)
    workers = spawned(psutil.Process(process.pid))
    assert len(workers) == 2
    loaders = spawned(workers[0])
    workers[0].kill()
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "died (exit code -9" in stderr
    assert "4,200 rows: 4,188 documents" in stdout
    assert not psutil.wait_procs(loaders, timeout=10)[1]
    assert embed_corpus("run", corpus, tmp_path / "clean", "--model", tiny_model).returncode == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A worker that does not get on for too long is killed, and another does its shards."""
    process = start(corpus, tmp_path / "out", tiny_model, code=IMPATIENT)
    wait_for_parts(tmp_path / "out", 1, process)
    (worker,) = spawned(psutil.Process(process.pid))
    worker.suspend()
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "hung for" in stderr
    assert "4,200 rows: 4,188 documents" in stdout
    assert not worker.is_running()


@pytest.mark.slow
def test_workers_that_die_again_and_again_end_the_run(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    """After three deaths the run ends with a clear message: the parent never hangs."""
    process = start(corpus, tmp_path / "out", tiny_model)
    wait_for_parts(tmp_path / "out", 1, process)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):  # one that is gone already
            for worker in spawned(psutil.Process(process.pid)):
                worker.kill()
        time.sleep(0.05)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.count("another takes its place") == 2
    assert "Finished parts are safe: run the same line again" in stderr


def test_a_second_run_does_nothing(embed_corpus: Command, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    """The same line on a finished OUT starts no worker and touches no part."""
    line = ("run", corpus, tmp_path / "out", "--model", tiny_model, "--limit", "400")
    assert embed_corpus(*line).returncode == 0
    before = parts(tmp_path / "out")
    again = embed_corpus(*line)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert "loading the model" not in again.stderr
    assert parts(tmp_path / "out") == before


def test_new_and_vanished_inputs(embed_corpus: Command, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A new file is picked up by the same line; a vanished one is refused, until --prune sets its part aside."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(corpus / "00.jsonl", folder)
    assert embed_corpus("run", folder, out, "--model", tiny_model).returncode == 0
    shutil.copy(corpus / "01.jsonl", folder)
    assert "1 of them new" in embed_corpus("run", folder, out, "--model", tiny_model).stdout
    (folder / "00.jsonl").unlink()
    refused = embed_corpus("run", folder, out, "--model", tiny_model)
    assert refused.returncode == 2
    assert "--prune" in refused.stderr
    assert embed_corpus("run", folder, out, "--model", tiny_model, "--prune").returncode == 0
    assert [name[:2] for name in parts(out)] == ["01"]
    aside = (out / "_embed" / "superseded").iterdir()
    assert sorted(path.name.split(".", 1)[1] for path in aside) == ["json.0", "jsonl.zst.0", "parquet.0"]


def test_going_on_with_other_layers_is_told(
    embed_corpus: Command, corpus: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Parts that go on what other layers (or versions, or a device) began may differ in bits: the run says so."""
    arguments = ["run", str(corpus), str(tmp_path / "out"), "--model", str(tiny_model), "--limit", "400"]
    embed_corpus(*arguments)
    next((tmp_path / "out" / "data").iterdir()).unlink()
    again = embed_corpus(*arguments, "--no-compile")
    assert again.returncode == 0
    assert "were made with other versions, hardware or layers" in again.stderr
