"""The command called in this process."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embed_corpus.cli import main
from embed_corpus.execution import run as job_run
from embed_corpus.execution.executor import EXECUTORS
from embed_corpus.execution.signals import SIGNALS
from embed_corpus.job.config import JobConfig
from embed_corpus.job.prepare import prepare
from kit.ended import Call, Ended


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Call the command in this process, without workers; an exception that it lets through fails the test."""

    def started(*_: object) -> None:
        raise AssertionError("a worker was started")

    def run(*args: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["embed-corpus", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, captured.out, captured.err)

    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    level = logging.getLogger("embed_corpus").level
    monkeypatch.setitem(EXECUTORS, "local", started)
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
    logging.getLogger("embed_corpus").setLevel(level)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder of two documents."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"id": "1", "text": "one"}\n{"id": "2", "text": "two"}\n')
    return folder


@pytest.fixture
def line(corpus: Path, tiny_model: Path, tmp_path: Path) -> list[object]:
    """The arguments of a run that nothing is wrong with; OUT comes third."""
    return ["run", corpus, tmp_path / "out", "--model", tiny_model]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[JobConfig]:
    """The jobs that `run` was asked for; none of them is done."""
    configs: list[JobConfig] = []

    def note(config: JobConfig, _: object) -> Any:
        configs.append(config)
        return SimpleNamespace(lines=lambda: ["done"])

    monkeypatch.setattr(job_run, "run", note)
    return configs


@pytest.fixture
def begun(corpus: Path, tiny_model: Path, tmp_path: Path) -> JobConfig:
    """A job whose OUT is prepared and holds no part yet."""
    config = JobConfig((str(corpus),), tmp_path / "out", str(tiny_model), devices="cpu")
    prepare(config)
    return config
