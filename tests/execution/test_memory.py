"""Memory does not grow with the corpus."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kit.tiny import CORPUS

pytestmark = [pytest.mark.process, pytest.mark.slow]

# The command in this process, its workers as children; the largest of them is what counts.
PEAK = """
import resource, sys
from embed_corpus.cli import main
try:
    main()
finally:
    print([resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)])
"""


def peaks(corpus: Path, out: Path, model: Path) -> list[int]:
    """Run over a corpus; peak resident kilobytes of the parent and of the largest worker."""
    command = [sys.executable, "-c", PEAK, "run", corpus, out, "--model", model]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return [int(n) for n in done.stdout.splitlines()[-1].strip("[]").split(",")]


def test_ten_times_the_corpus_takes_the_same_memory(tiny_model: Path, tmp_path: Path) -> None:
    """Ten times the files take less than 10 % more memory, in the parent and in the worker."""
    for i in range(10):
        (tmp_path / "ten" / str(i)).mkdir(parents=True)
        for name in ("cranfield-0.parquet", "python-docs.parquet"):
            shutil.copy(CORPUS / name, tmp_path / "ten" / str(i))
    once = peaks(tmp_path / "ten" / "0", tmp_path / "out1", tiny_model)
    ten_times = peaks(tmp_path / "ten", tmp_path / "out10", tiny_model)
    assert max(b / a for a, b in zip(once, ten_times, strict=True)) < 1.1, (once, ten_times)
