"""Bad data is data: whatever lies in INPUT, either an error names it or every row comes out once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from embed_corpus.errors import DataError
from embed_corpus.source.discover import discover
from hostile import TEXT, Case, files, jsonl, parquet
from hostile import verdict as judging
from hostile.parquet import N
from hostile.verdict import Verdict, judge
from kit.tiny import Command

CASES = [case for module in (files, jsonl, parquet) for case in module.cases()]
REMEDY = r"(?i)\b(replace|rename|name|convert|write|mend|run the same line|take it out|read are)\b"


def made(case: Case, folder: Path) -> Path:
    """The case's folder."""
    folder = folder / str(case).replace("/", "_")
    folder.mkdir(parents=True)
    case.make(folder)
    return folder


def check(case: Case, verdict: Verdict) -> None:
    """Hold a verdict against the contract, and against what the case expects."""
    if verdict.error:
        assert case.says is not None, verdict.error
        assert case.file in verdict.error
        assert re.search(case.says, verdict.error), verdict.error
        assert re.search(REMEDY, verdict.error), verdict.error
        return
    assert case.says is None or case.any_verdict, "no error"
    assert verdict.each_row_once
    if not case.any_verdict:
        assert verdict.rejects == case.rejects
        assert verdict.texts == case.texts if isinstance(case.texts, list) else len(verdict.texts) == case.texts


@pytest.mark.heavy
@pytest.mark.usefixtures("_deadline")
@pytest.mark.parametrize("case", [case for case in CASES if not case.peak_mb], ids=str)
def test_error_or_every_row(case: Case, tmp_path: Path) -> None:
    """A DataError that names the file and a remedy, or each row once, as a document or a reject."""
    check(case, judge(made(case, tmp_path), case.columns, case.between))


@pytest.mark.process
@pytest.mark.parametrize("case", [case for case in CASES if case.peak_mb], ids=str)
def test_bomb(case: Case, tmp_path: Path) -> None:
    """The same for what would fill the memory: a process of its own stays below a peak, and ends soon."""
    assert case.columns == TEXT, "the process reads no others"
    script = [sys.executable, judging.__file__, str(made(case, tmp_path))]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    verdict, peak = json.loads(done.stdout)
    check(case, Verdict(**verdict))
    assert peak < case.peak_mb


@pytest.mark.parametrize(
    "name",
    ["fifo", "link-to-itself", "cut-by-a-byte.gz", "a-trillion-rows", "16-GiB-unpacked-said", "encrypted-column"],
)
def test_command_refuses(name: str, tmp_path: Path, tiny_model: Path, embed_corpus: Command) -> None:
    """The command ends with code 4 and one message that names the file, before OUT is made."""
    case = next(case for case in CASES if case.name == name)
    done = embed_corpus("run", made(case, tmp_path), tmp_path / "out", "--model", tiny_model, "--devices", "cpu")
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    check(case, Verdict(done.stderr.partition("error: ")[2]))
    assert not (tmp_path / "out").exists()


def test_command_embeds_the_rest(tmp_path: Path, tiny_model: Path, embed_corpus: Command) -> None:
    """Every small case without an error, in one folder: rows are documents and rejects, each counted."""
    fine = [
        c
        for c in CASES
        if c.says is None and not c.any_verdict and not c.peak_mb and c.texts != N and c.columns == TEXT
    ]
    for case in fine:
        made(case, tmp_path / "in")
    rejects = sum((Counter(case.rejects) for case in fine), Counter())
    n_texts = sum(case.texts if isinstance(case.texts, int) else len(case.texts) for case in fine)
    line = ("run", tmp_path / "in", tmp_path / "out", "--model", tiny_model, "--devices", "cpu", "--max-rejects", "90%")
    done = embed_corpus(*line)
    assert done.returncode == 0, done.stderr
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(rejects.items()))
    assert f"{n_texts + rejects.total()} rows: {n_texts} documents" in done.stdout, done.stdout
    assert f"{rejects.total()} rejects ({reasons})" in done.stdout


@pytest.mark.parametrize("name", ["x" * 5000, "gone\0", "*\0", "fifo.jsonl", "ring.jsonl", "ri*"])
def test_input_that_is_none(name: str, tmp_path: Path) -> None:
    """An INPUT that is named outright and cannot be is named back, and neither opened nor died of."""
    os.mkfifo(tmp_path / "fifo.jsonl")
    (tmp_path / "ring.jsonl").symlink_to("ring.jsonl")
    with pytest.raises(DataError, match=r"(?i)take it out|check the p"):
        discover([str(tmp_path / name)], tmp_path / "out")


def test_corpus_is_large_and_small() -> None:
    """Many cases, each of another name."""
    assert len({case.name for case in CASES}) == len(CASES) > 200
