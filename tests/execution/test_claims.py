"""Runs that share one OUT divide the work; a run that is gone or stands still holds nobody up for long."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from embed_corpus.data import Shard
from embed_corpus.execution import claims
from embed_corpus.execution.claims import Claims, Queue
from embed_corpus.execution.signals import Stop
from embed_corpus.store.layout import Layout
from kit.places import at
from kit.started import MAIN, contents, files_below, parts, start, wait_for_parts
from kit.tiny import CORPUS, Command

SOON = f"from embed_corpus.execution import claims\nclaims.STALE = 4.0\n{MAIN}"
"""The command, where claims are stale after seconds."""
SHARDS = [Shard(name, f"{name}.jsonl", 0, 1) for name in ("a", "b", "c")]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen shards."""
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(16):
        shutil.copy(CORPUS / "cranfield-2.jsonl", folder / f"{i:02}.jsonl")
    return folder


@pytest.fixture(scope="module")
def clean(embed_corpus: Command, corpus: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run alone makes."""
    out = tmp_path_factory.mktemp("clean") / "out"
    assert embed_corpus("run", corpus, out, "--model", tiny_model).returncode == 0
    return out


def new_parts(process: subprocess.Popen[str]) -> int:
    """Wait for a run that ends well, and tell how many parts it says to have made."""
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    found = re.search(r"16 of 16 parts, (\d+) of them new", stdout)
    assert found, stdout
    return int(found[1])


@pytest.mark.process
def test_two_runs_divide_the_work(corpus: Path, tiny_model: Path, tmp_path: Path, clean: Path) -> None:
    """Two runs race: both end well, each shard is embedded about once, to the bytes of a run alone."""
    runs = [start(corpus, tmp_path / "out", tiny_model) for _ in range(2)]
    done = [new_parts(run) for run in runs]
    assert 16 <= sum(done) <= 18
    assert contents(tmp_path / "out") == contents(clean)
    assert not files_below(tmp_path / "out" / "_embed" / "claims")


@pytest.mark.process
@pytest.mark.slow
def test_a_run_that_stands_still_is_not_waited_for(corpus: Path, tiny_model: Path, tmp_path: Path, clean: Path) -> None:
    """A suspended run's claims go stale, another does its shards; when it goes on, nothing changes any more."""
    out = tmp_path / "out"
    with start(corpus, out, tiny_model, code=SOON) as first:
        wait_for_parts(out, 2, first)
        processes = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
        for process in processes:
            process.suspend()
        try:
            with start(corpus, out, tiny_model, code=SOON) as second:
                new_parts(second)
            before = {name: part[:2] for name, part in parts(out).items()}
        finally:
            for process in reversed(processes):
                process.resume()
        assert new_parts(first) <= 4
    assert {name: part[:2] for name, part in parts(out).items()} == before
    assert contents(out) == contents(clean)


@pytest.mark.process
@pytest.mark.slow
def test_a_run_waits_for_what_others_claim(corpus: Path, tiny_model: Path, tmp_path: Path, clean: Path) -> None:
    """It does all else, waits, and says so once; when the claim goes stale it does that shard too."""
    out = tmp_path / "out"
    (out / "_embed" / "claims").mkdir(parents=True)
    name = min(contents(clean))
    claim = out / "_embed" / "claims" / name.removesuffix(".parquet").rpartition("-")[2]
    claim.write_text('{"place": "elsewhere"}')
    os.utime(claim, (time.time() + 3600,) * 2)
    with start(corpus, out, tiny_model) as run:
        line = ""
        while "waiting for 1 shards that another run works on" not in line:
            line = run.stderr.readline()
            assert line
        assert set(contents(out)) == set(contents(clean)) - {name}
        os.utime(claim, (1, 1))
        stdout, stderr = run.communicate(timeout=120)
    assert "16 of 16 parts, 16 of them new" in stdout
    assert "waiting" not in stderr
    assert contents(out) == contents(clean)
    assert not claim.exists()


@pytest.mark.process
@pytest.mark.slow
def test_a_killed_run_is_not_waited_for(corpus: Path, tiny_model: Path, tmp_path: Path, clean: Path) -> None:
    """kill -9 of one of two runs: the other does all that is left, at once, as it can see that the process is gone."""
    out = tmp_path / "out"
    with start(corpus, out, tiny_model) as first, start(corpus, out, tiny_model) as second:
        wait_for_parts(out, 4, first)
        os.killpg(first.pid, signal.SIGKILL)
        first.communicate()
        begin = time.monotonic()
        new_parts(second)
        assert time.monotonic() - begin < claims.STALE
    assert contents(out) == contents(clean)


def test_a_claim_is_held_by_one(tmp_path: Path) -> None:
    """What one run has claimed another gets only when it is released."""
    ours, theirs = Claims(Layout(tmp_path)), Claims(Layout(tmp_path))
    assert ours.take("a")
    assert ours.take("a")
    assert not theirs.take("a")
    assert theirs.take("b")
    ours.release("a")
    assert theirs.take("a")
    ours.close()
    theirs.close()
    assert not files_below(tmp_path)


def test_a_claim_is_touched_until_it_goes_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live run's claim stays fresh; one that nobody touches is taken over, and not taken back by its first owner."""
    monkeypatch.setattr(claims, "STALE", 0.4)
    ours, theirs = Claims(Layout(tmp_path)), Claims(Layout(tmp_path))
    assert ours.take("a")
    time.sleep(1)
    assert not theirs.take("a")
    ours._ended.set()
    time.sleep(1)
    assert theirs.take("a")
    ours.close()
    assert at(Layout(tmp_path).claims / "a").exists()
    theirs.close()


@pytest.mark.parametrize("content", ["", "[]", '{"pid": 1}', '{"place": "elsewhere", "pid": 999999999}'])
def test_a_claim_of_unknown_origin_counts(tmp_path: Path, content: str) -> None:
    """Who made a claim cannot always be told: only its time counts then."""
    ours = Claims(Layout(tmp_path))
    claim = at(Layout(tmp_path).claims / "a")
    claim.parent.mkdir(parents=True)
    claim.write_text(content)
    assert not ours.take("a")
    os.utime(claim, (1, 1))
    assert ours.take("a")
    ours.close()


def test_without_claims_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no claim can be made, everything may be worked on, and that is told once."""
    (tmp_path / "file").touch()
    ours = Claims(Layout(tmp_path / "file"))
    assert ours.take("a")
    assert ours.take("b")
    assert caplog.text.count("may do work twice") == 1
    ours.close()


def test_the_queue_leaves_out_what_others_do_or_have_done(tmp_path: Path) -> None:
    """Claimed shards come last, and not at all once their part is there."""
    layout = Layout(tmp_path)
    others = Claims(layout)
    at(layout.data).mkdir()
    assert others.take("a")
    at(layout.data / SHARDS[1].part_name).touch()
    with Queue(SHARDS, layout) as queue:
        assert queue.take() == SHARDS[2]
        assert queue.elsewhere == [SHARDS[1]]
        assert queue.take() is None
        assert len(queue) == 1
        at(layout.data / SHARDS[0].part_name).touch()
        others.close()
        assert not queue.wait(Stop())
        assert queue.elsewhere == [SHARDS[1], SHARDS[0]]
    assert not files_below(at(layout.claims))


def test_a_stop_ends_the_waiting(tmp_path: Path) -> None:
    """Who waits for another run still hears signals."""
    others = Claims(Layout(tmp_path))
    assert others.take("a")
    stop = Stop()
    with Queue(SHARDS[:1], Layout(tmp_path)) as queue:
        stop.ask()
        assert not queue.wait(stop)
    others.close()
