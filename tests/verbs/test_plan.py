"""Estimates from a sample lie as near the truth as they say."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from embed_corpus.job.config import JobConfig
from embed_corpus.report.plan import PlanReport
from embed_corpus.verbs.plan import plan
from kit.source_files import write_jsonl, write_parquet

ESTIMATED = ("text_bytes", "characters", "chunks", "tokens", "batches")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 documents of very different lengths, longer in some files than in others; one in 50 is empty."""
    folder, dice = tmp_path_factory.mktemp("uneven"), np.random.default_rng(0)
    for number in range(10):
        lengths = dice.lognormal(2 + number % 3, 1, 200).astype(int) + 1
        rows = [" ".join(["word", "flow", "né"][n % 3] for n in range(min(length, 500))) for length in lengths]
        rows[::50] = [""] * 4
        if number % 2:
            write_jsonl(folder / f"{number}.jsonl", *({"text": text} for text in rows))
        else:
            write_parquet(folder / f"{number}.parquet", {"text": rows[:70]}, {"text": rows[70:]})
    return folder


@pytest.fixture(scope="module")
def estimated(uneven: Path, tiny_model: Path) -> Callable[..., PlanReport]:
    """Estimate what a run over these would do."""
    config = JobConfig((str(uneven),), None, str(tiny_model), devices="cpu")
    return lambda sample, seed=0: plan(config, sample, seed)


@pytest.mark.heavy
def test_estimates_keep_their_word(estimated: Callable[..., PlanReport], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 40 samples nine in ten estimates lie within two standard errors, and they lean to no side."""
    monkeypatch.setattr("embed_corpus.verbs.plan._READ_RATIO", 4)  # else all texts are measured
    truth = estimated(2000)
    assert truth.exact
    samples = [estimated(200, seed) for seed in range(40)]
    for name in ESTIMATED:
        true = getattr(truth, name).value
        off = np.array([(getattr(s, name).value - true) / getattr(s, name).error for s in samples])
        assert (np.abs(off) <= 2).mean() >= 0.9, name
        assert np.mean([getattr(s, name).value for s in samples]) == pytest.approx(true, rel=0.03), name


def test_a_larger_sample_is_surer(estimated: Callable[..., PlanReport]) -> None:
    """Ten times the documents give a third of the error, or less."""
    few, many = estimated(100), estimated(1000)
    assert not few.exact
    assert 0 < many.tokens.error < few.tokens.error / 3
    assert few.tokens.error / few.tokens.value < 0.1


def test_what_the_sample_lacks_may_still_be_there(tmp_path: Path, tiny_model: Path) -> None:
    """Documents that are all alike in the sample are no proof for the rest: nothing is called exact."""
    write_jsonl(tmp_path / "a.jsonl", *({"text": "one two"} for _ in range(5000)))
    report = plan(JobConfig((str(tmp_path),), None, str(tiny_model), devices="cpu"), 20)
    assert report.documents.value == pytest.approx(5000)
    assert min(report.documents.error, report.chunks.error, report.tokens.error, report.text_bytes.error) > 0
    assert "5,000 ± " in "\n".join(report.lines())


def test_lengths_fall_into_ten_bins_at_most(estimated: Callable[..., PlanReport]) -> None:
    """The bins follow on one another by powers of two, and their counts add up to all."""
    for report in (estimated(100), estimated(2000)):
        for bins, total in ((report.document_tokens, report.documents), (report.chunk_tokens_seen, report.chunks)):
            assert sum(b.count for b in bins) == pytest.approx(total.value)
            assert all(b.least == a.most + 1 for a, b in pairwise(bins))
            assert {b.most & (b.most - 1) for b in bins} == {0}
            assert len(bins) <= 10
