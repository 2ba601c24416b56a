"""Edited at random, a model folder gives sentence-transformers' vectors or is refused: nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from fuzz.layouts import make
from fuzz.run import edited
from parity.kinds import KINDS
from parity.texts import training

NAMES = ("bert-uncased", "bert-older", "roberta", "qwen3-prompts")
"""The cheap ones; `python -m fuzz.run 500` in tests/ takes all twelve."""


@pytest.fixture(scope="module")
def layouts(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the cheap layouts."""
    trained: Callable[[str], Tokenizer] = lambda kind: KINDS[kind].train(training(texts[:40]))  # noqa: E731
    return {name: make(name, tmp_path_factory.mktemp(name) / "model", trained) for name in NAMES}


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
def test_no_third_outcome(layouts: dict[str, Path], tmp_path: Path) -> None:
    """Forty random edits of files and keys: cosine 0.99999 at least, a refusal, or nothing to compare with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seen = [(name, done, seen) for _, name, done, seen in edited(range(2000, 2040), layouts, tmp_path, NAMES)]
    finally:
        torch.set_num_threads(threads)
    assert [entry for entry in seen if entry[2].fault] == []
    assert {entry[2].outcome for entry in seen} >= {"same", "refused"}
