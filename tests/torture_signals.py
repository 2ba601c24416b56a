"""Signals at random moments; not collected by default: `pytest -s tests/torture_signals.py`.

50 times: exit code 75 within the grace and 2 s, no orphan, nothing left behind; then the same line, to the same bytes.
TORTURE_TIMES and TORTURE_SEED choose how often, and repeat what was seen.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import psutil
import pytest

from embed_corpus.errors import Interrupted
from embed_corpus.execution.signals import SIGNALS
from kit.started import contents, shared_memory, start
from kit.tiny import CORPUS, Command

TIMES = int(os.environ.get("TORTURE_TIMES", "50"))
SEED = int(os.environ.get("TORTURE_SEED", str(time.time_ns() % 10**6)))
SLACK = 2.0
LONGEST = 12.0
"""Seconds within which the signal comes: planning and loading take about half."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty shards."""
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(40):
        shutil.copy(CORPUS / "cranfield-2.jsonl", folder / f"{i:02}.jsonl")
    return folder


def struck(corpus: Path, out: Path, model: Path, chance: random.Random) -> tuple[int, str]:
    """Signal one run at a random moment, and see how it ends; returns its exit code, and what was done to it."""
    grace, loaders = chance.choice([0, 1, 3]), chance.choice(["0", "1", "2"])
    number, group, at = chance.choice(SIGNALS), chance.random() < 0.5, chance.uniform(0, LONGEST)
    again = chance.uniform(0.3, 1) if chance.random() < 0.2 else None
    process = start(corpus, out, model, "--grace", str(grace), "--loader-workers", loaders)
    first = process.stderr.readline()  # from here on it plans: no signal comes before Python has begun
    time.sleep(at)
    if process.poll() is not None:
        return process.returncode, process.communicate()[1]
    children = psutil.Process(process.pid).children(recursive=True)
    memory = {path for child in children for path in shared_memory(child.pid)}
    begin = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, number)
    if again is not None:
        time.sleep(again)
        process.send_signal(number)
    _, stderr = process.communicate(timeout=grace + 60)
    seconds = time.monotonic() - begin
    told = f"{number.name} at {at:4.1f} s, group {group:d}, again {again}, grace {grace}, loaders {loaders}"
    told += f": exit {process.returncode} after {seconds:.2f} s"
    if process.returncode == 0:
        return 0, told
    assert process.returncode == 75, f"{told}\n{first}{stderr}"
    assert seconds <= grace + SLACK, f"{told}\n{stderr}"
    assert Interrupted.told in stderr, told
    assert "Traceback" not in stderr, f"{told}\n{stderr}"
    assert "leaked" not in stderr, f"{told}\n{stderr}"
    assert not psutil.wait_procs(children, timeout=10)[1], told
    assert not any(path.exists() for path in memory), told
    return 75, told


def test_signals_at_random_moments(embed_corpus: Command, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Whenever a signal comes, the run ends as it should; run again and again, it comes to the same bytes."""
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    outs = [tmp_path / "0"]
    n_stopped = n_runs = 0
    while n_stopped < TIMES:
        n_runs += 1
        code, told = struck(corpus, outs[-1], tiny_model, chance)
        n_stopped += code == 75
        print(f"{n_stopped:3} of {TIMES}  {told}", flush=True)
        if code == 0:  # it was done before the signal came: a fresh OUT for the next
            outs.append(tmp_path / str(len(outs)))
    clean = tmp_path / "clean"
    for out in [*outs, clean]:
        assert embed_corpus("run", corpus, out, "--model", tiny_model).returncode == 0
        assert not list((out / "_embed" / "tmp").iterdir())
    assert all(contents(out) == contents(clean) for out in outs)
    print(f"{n_stopped} of {n_runs} runs were stopped by a signal; every end was as it should be")
