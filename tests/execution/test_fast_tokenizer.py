"""Fast tokenizers in a run: the same bytes with and without, and what becomes of one that is wrong."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

import pytest

from kit.tiny import CORPUS, Command

WRONG_TOKIE = """
import time
import numpy as np
from tokenizers import Tokenizer as Right

class Tokenizer:
    @classmethod
    def from_json(cls, path):
        made = cls()
        made.right = Right.from_file(path)
        made.right.no_truncation()
        made.right.no_padding()
        return made

    def no_truncation(self): ...
    def no_padding(self): ...

    def encode_batch_flat(self, texts, add_special_tokens=True):
        ids = [encoding.ids for encoding in self.right.encode_batch(texts, add_special_tokens=False)]
        if any("zeppelin" in text for text in texts):
            time.sleep(2)  # what came before has been committed
        for text, own in zip(texts, ids):
            if "zeppelin" in text:
                own[0], own[1] = own[1], own[0]
        return np.array([i for own in ids for i in own], np.uint32), np.array([len(own) for own in ids], np.uint64)
"""


def texts_of(text: str, n: int) -> list[str]:
    """Texts that differ in a number at their end, of which the last is one of the 1 in 1,000 that are checked."""
    number = next(i for i in range(10**6) if zlib.crc32(f"{text} {i}".encode()) % 1000 == 0)
    return [f"{text} {10**7 + i}" for i in range(n)] + [f"{text} {number}"]


def write(file: Path, texts: list[str]) -> None:
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def parts(out: Path) -> dict[str, bytes]:
    return {part.name: part.read_bytes() for part in (out / "data").glob("*.parquet")}


def files(out: Path) -> dict[Path, bytes]:
    """Parts, notes and records of rejects: what tells of a shard that is done."""
    folders = ("data", "_embed/stats", "_embed/rejects")
    return {file.relative_to(out): file.read_bytes() for folder in folders for file in (out / folder).glob("*")}


def test_same_bytes_with_and_without(embed_corpus: Command, tiny_model: Path, tmp_path: Path) -> None:
    """Parts are the same bytes, and the report names the library."""
    lanes = {}
    for option in ("--fast-tokenizer", "--no-fast-tokenizer"):
        line = ("run", CORPUS, tmp_path / option, "--model", tiny_model, "--limit", "500", "--loader-workers", "1")
        done = embed_corpus(*line, option)
        assert done.returncode == 0, done.stderr
        report = json.loads(next((tmp_path / option / "_embed" / "runs").iterdir()).read_text())
        lanes[report["workers"][0]["lane"]] = parts(tmp_path / option)
    assert list(lanes) == ["tokie", "tokenizers"]
    assert lanes["tokie"] == lanes["tokenizers"]


@pytest.mark.slow
def test_one_that_is_wrong_later_costs_this_runs_parts(
    embed_corpus: Command, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It differs after its proof: exit 75, this run's parts are set aside with their notes, the next does without."""
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    corpus.mkdir()
    line = ("run", corpus, out, "--model", tiny_model, "--loader-workers", "1")
    write(corpus / "a.jsonl", texts_of("wing flow", 3))
    assert embed_corpus(*line).returncode == 0
    before = files(out)
    write(corpus / "b.jsonl", [*texts_of("heat transfer", 3), ""])
    write(corpus / "bb.jsonl", texts_of("heat transfer", 1000))  # fills the batch in which b ends
    write(corpus / "c.jsonl", texts_of("zeppelin in a slipstream", 3))
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "tokie.py").write_text(WRONG_TOKIE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'wrong'}:{os.environ.get('PYTHONPATH', '')}")
    stopped = embed_corpus(*line)
    assert stopped.returncode == 75, stopped.stderr
    assert "tokie does not tokenise as Hugging Face does" in stopped.stderr
    assert "run the same line again" in stopped.stderr
    assert files(out) == before
    assert len(list((out / "_embed" / "quarantine").glob("b-*.parquet.*"))) == 1
    again = embed_corpus(*line)
    assert again.returncode == 0, again.stderr
    assert "3 of them new" in again.stdout
    monkeypatch.delenv("PYTHONPATH")
    clean = embed_corpus("run", corpus, tmp_path / "clean", "--model", tiny_model)
    assert clean.returncode == 0
    assert parts(out) == parts(tmp_path / "clean")
    assert files(out).keys() == files(tmp_path / "clean").keys()


def test_one_that_is_wrong_at_once_is_not_used(
    embed_corpus: Command, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its proof fails: the run says so and does without."""
    write(tmp_path / "a.jsonl", texts_of("zeppelin in a slipstream", 3))
    (tmp_path / "tokie.py").write_text(WRONG_TOKIE)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    done = embed_corpus("run", tmp_path / "a.jsonl", tmp_path / "out", "--model", tiny_model, "--loader-workers", "1")
    assert done.returncode == 0, done.stderr
    assert "tokie does not tokenise as Hugging Face does, and is not used" in done.stderr
