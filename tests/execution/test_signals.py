"""SIGTERM, Ctrl-C and SIGUSR1: what is nearly done is finished, all else dropped, and nothing left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from embed_corpus.errors import Interrupted
from embed_corpus.execution.signals import SIGNALS, heeded
from kit.started import files_below, is_spawned, shared_memory, start, wait_for_parts
from kit.tiny import CORPUS

SLACK = 4.0
"""Seconds beyond the grace; 2 on a machine that does nothing else."""
PER_THREAD = """
import sys, threading
from embed_corpus import JobConfig, run
done = []
if __name__ == "__main__":
    config = JobConfig((sys.argv[2],), sys.argv[3], sys.argv[5], limit=100)
    thread = threading.Thread(target=lambda: done.append(run(config)))
    thread.start()
    thread.join()
    assert done[0].parts == 1
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small shard, then two that take seconds."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = (CORPUS / "cranfield-2.jsonl").read_text()
    for name, n in (("0", 1), ("1", 6), ("2", 6)):
        (folder / f"{name}.jsonl").write_text(rows * n)
    return folder


class Begun:
    """A run that has finished its first shard and is in the middle of the second."""

    def __init__(self, corpus: Path, out: Path, model: Path, *options: str) -> None:
        self.out = out
        self.process = start(corpus, out, model, *options)
        wait_for_parts(out, 1, self.process)
        time.sleep(0.5)
        self.children = psutil.Process(self.process.pid).children(recursive=True)
        self.semaphores = {path for child in self.children for path in shared_memory(child.pid)}
        self.begin = time.monotonic()

    def workers(self) -> list[psutil.Process]:
        return [child for child in self.children if is_spawned(child)]

    def stopped(self) -> tuple[int, float]:
        """Wait for its end, see that it is the one of a stopped run, and tell parts and seconds."""
        assert self.children
        _, stderr = self.process.communicate(timeout=60)
        seconds = time.monotonic() - self.begin
        self.stderr = stderr
        assert self.process.returncode == 75, stderr
        n_parts = len(list((self.out / "data").iterdir()))
        assert f"\n{Interrupted.told} {n_parts} of 3 parts are finished, {n_parts} of them by this run.\n" in stderr
        assert "Traceback" not in stderr
        assert "leaked" not in stderr
        assert not psutil.wait_procs(self.children, timeout=10)[1]
        assert not list((self.out / "_embed" / "tmp").iterdir())
        assert not files_below(self.out / "_embed" / "claims")
        assert not any(path.exists() for path in self.semaphores)
        return n_parts, seconds


Begin = Callable[..., Begun]


@pytest.fixture
def begin(corpus: Path, tiny_model: Path, tmp_path: Path) -> Begin:
    """Start a run with options, and wait until it is in the middle."""
    return lambda *options: Begun(corpus, tmp_path / "out", tiny_model, *options)


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_the_open_shard_is_finished(begin: Begin, number: signal.Signals) -> None:
    """Within the grace the shard under way is finished, and no other begun."""
    run = begin("--grace", "60")
    run.process.send_signal(number)
    assert run.stopped()[0] == 2


@pytest.mark.process
@pytest.mark.slow
def test_what_takes_longer_is_dropped_at_once(begin: Begin) -> None:
    """A shard that will not be done within the grace is not waited for."""
    run = begin("--grace", "0.5")
    run.process.send_signal(signal.SIGTERM)
    n_parts, seconds = run.stopped()
    assert n_parts == 1
    assert seconds < SLACK
    assert "stopping: " not in run.stderr  # as it says where it waits


@pytest.mark.process
@pytest.mark.slow
def test_after_the_grace_all_is_dropped(begin: Begin) -> None:
    """A shard that turns out to take longer than predicted is dropped when the grace is over."""
    # Of 15 s, because on a busy machine some 6 are predicted, and then it would be dropped at once.
    run = begin("--grace", "15", "--loader-workers", "0")
    (worker,) = run.workers()
    worker.suspend()
    run.process.send_signal(signal.SIGTERM)
    n_parts, seconds = run.stopped()
    assert n_parts == 1
    assert seconds < 15 + SLACK
    assert "stopping: 1 open shards, at most 15 s" in run.stderr


@pytest.mark.process
@pytest.mark.slow
def test_a_second_signal_ends_at_once(begin: Begin) -> None:
    """Whoever asks twice does not wait for the grace."""
    run = begin("--grace", "60")
    run.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    run.process.send_signal(signal.SIGINT)
    n_parts, seconds = run.stopped()
    assert n_parts == 1
    assert seconds < 0.5 + SLACK


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(("number", "grace"), [(signal.SIGTERM, "60"), (signal.SIGUSR1, "0")])
def test_a_signal_to_the_whole_group(begin: Begin, number: signal.Signals, grace: str) -> None:
    """Workers and loaders leave it to the parent, as where Slurm signals every process of a job."""
    run = begin("--loader-workers", "2", "--grace", grace)
    assert len(run.workers()) >= 2
    assert run.semaphores
    os.killpg(run.process.pid, number)
    n_parts, _ = run.stopped()
    assert n_parts == 2 if grace == "60" else n_parts < 3


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(("line", "group"), [("model ", False), ("loading the model", True)])
def test_before_the_first_batch_it_ends_at_once(
    corpus: Path, tiny_model: Path, tmp_path: Path, line: str, group: bool
) -> None:
    """While planning, or loading the model, there is nothing to finish."""
    process = start(corpus, tmp_path / "out", tiny_model, "--loader-workers", "1")
    while line not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.2)
    children = psutil.Process(process.pid).children(recursive=True)
    begin = time.monotonic()
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 75
    assert time.monotonic() - begin < SLACK
    assert Interrupted.told in stderr
    assert "Traceback" not in stderr
    assert not psutil.wait_procs(children, timeout=10)[1]


@pytest.mark.process
@pytest.mark.slow
def test_python_may_run_it_in_a_thread(corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    """Outside the main thread, where Python allows no handlers, a run works all the same."""
    process = start(corpus / "0.jsonl", tmp_path / "out", tiny_model, code=PER_THREAD)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr


def test_handlers_are_restored() -> None:
    """Within the block a signal asks for a stop, twice at once counts as one; afterwards all is as before."""
    before = [signal.getsignal(number) for number in SIGNALS]
    with heeded() as stop:
        for _ in range(2):
            signal.raise_signal(signal.SIGUSR1)
        assert stop.count == 1
        time.sleep(0.3)
        signal.raise_signal(signal.SIGTERM)
        assert stop.count == 2
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_an_ignored_signal_stays_so() -> None:
    """What a shell lets its background ignore is ignored."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with heeded() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop.count
    finally:
        signal.signal(signal.SIGINT, before)
