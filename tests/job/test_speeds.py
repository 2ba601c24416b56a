"""Speeds that were measured before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from embed_corpus.job import speeds as rates
from embed_corpus.job.speeds import SHORT_RUN, Rate, known_rate, note_rate, predicted_seconds
from embed_corpus.model.facts import ModelFacts, read_facts


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embed-corpus" / "rates"


@pytest.fixture
def facts(tiny_model: Path) -> ModelFacts:
    """What the tiny model's files say."""
    return read_facts(tiny_model)


def test_what_is_noted_is_known(facts: ModelFacts, cache: Path) -> None:
    """A speed comes back as it was noted, and nothing else lies in the cache."""
    note_rate(facts, "fp32", "cpu", 64, 123.5, 1024)
    assert known_rate(facts, "fp32", "cpu", 64) == Rate(123.5, 1024, whole_run=False)
    assert [file.suffix for file in cache.iterdir()] == [".json"]


def test_each_way_to_run_has_its_own_speed(
    facts: ModelFacts, tiny_decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another precision, limit, model, device or version of this package has no speed yet."""
    note_rate(facts, "fp32", "cpu", 64, 123.5, 1024)
    assert known_rate(facts, "bf16", "cpu", 64) is None
    assert known_rate(facts, "fp32", "cpu", 32) is None
    assert known_rate(read_facts(tiny_decoder), "fp32", "cpu", 64) is None
    with monkeypatch.context() as patch:
        patch.setattr(rates, "device_kind", lambda _: "cuda 9.0")
        assert known_rate(facts, "fp32", "cuda:0", 64) is None
    monkeypatch.setattr(rates, "__version__", "another")
    assert known_rate(facts, "fp32", "cpu", 64) is None


def test_a_whole_run_tells_more_than_the_model_alone(facts: ModelFacts) -> None:
    """The speed of a whole run goes before that of bench, unless the run was short."""
    note_rate(facts, "fp32", "cpu", 64, 100.0, 1024)
    note_rate(facts, "fp32", "cpu", 64, 50.0, 1024, run_seconds=SHORT_RUN / 2)
    assert known_rate(facts, "fp32", "cpu", 64) == Rate(100.0, 1024, whole_run=False)
    note_rate(facts, "fp32", "cpu", 64, 80.0, 1024, run_seconds=SHORT_RUN)
    note_rate(facts, "fp32", "cpu", 64, 110.0, 1024)
    assert known_rate(facts, "fp32", "cpu", 64) == Rate(80.0, 1024, whole_run=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"tokens_per_s": NaN, "token_budget": 1}', "\xff"])
def test_a_damaged_note_is_no_speed(facts: ModelFacts, cache: Path, content: str) -> None:
    """A file that makes no sense is as good as none."""
    note_rate(facts, "fp32", "cpu", 64, 100.0, 1024)
    (file,) = cache.iterdir()
    file.write_text(content, encoding="latin1")
    assert known_rate(facts, "fp32", "cpu", 64) is None


def test_a_cache_that_cannot_be_written_is_ignored(
    facts: ModelFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised where there is no place to write."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    note_rate(facts, "fp32", "cpu", 64, 100.0, 1024)
    assert known_rate(facts, "fp32", "cpu", 64) is None


def test_devices_share_the_work(facts: ModelFacts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of several devices is that of their speeds added up, and unknown if one's is."""
    monkeypatch.setattr(rates, "device_kind", lambda device: device)
    note_rate(facts, "fp16", "cuda:0", 64, 100.0, 1024)
    assert predicted_seconds(1000, facts, "fp16", ["cuda:0"], 64) == 10
    assert predicted_seconds(1000, facts, "fp16", ["cuda:0", "cuda:1"], 64) is None
    note_rate(facts, "fp16", "cuda:1", 64, 300.0, 1024)
    assert predicted_seconds(1000, facts, "fp16", ["cuda:0", "cuda:1"], 64) == 2.5


@pytest.mark.process
def test_rates_and_cache_do_without_torch() -> None:
    """Who only asks for a speed, or the cache's folder, does not wait for torch."""
    script = "import sys, embed_corpus.store.cache, embed_corpus.job.speeds; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
