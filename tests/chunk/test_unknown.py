"""Chunks that tell the model nothing are known as such."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.errors import ModelError
from embed_corpus.execution.run import run
from embed_corpus.job.config import JobConfig
from embed_corpus.report.summary import unknown_line
from kit.source_files import write_jsonl
from kit.tiny import byte_bpe

THAI = "การถ่ายเทความร้อน"


@pytest.mark.parametrize("prompt", ["", "query: "])
@pytest.mark.parametrize("truncate", [True, False])
def test_unknown_chunks(tiny_model: Path, prompt: str, truncate: bool) -> None:
    """Nothing but unknown tokens, or no token, is unknown; one known token among them is enough to be known."""
    chunker = Chunker(WordTokenizer(tiny_model), 64, prompt=prompt, truncate=truncate)
    chunks = chunker([THAI, "x" * 400, "\u200b\u200b", "heat", f"{THAI} heat", f"{THAI} {THAI}"])
    assert chunks.unknown is not None
    assert chunks.unknown.tolist() == [True, True, True, False, False, True]


def test_byte_level_tokenizers_know_everything(tiny_decoder: Path) -> None:
    """A byte-level tokenizer has a token for every byte."""
    chunks = Chunker(WordTokenizer(tiny_decoder), 64, prompt="find: ")([THAI, "x" * 400, "heat"])
    assert chunks.unknown is not None
    assert not chunks.unknown.any()


@pytest.mark.process
def test_unknown_chunks_are_told(tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A run counts them over all its parts, warns at its end, and embeds them all the same."""
    write_jsonl(tmp_path / "a.jsonl", {"id": "good", "text": "heat"}, {"id": "thai", "text": THAI})
    write_jsonl(tmp_path / "b.jsonl", {"id": "more", "text": THAI})
    report = run(JobConfig((str(tmp_path),), tmp_path / "out", str(tiny_model), id_column="id", devices="cpu"))
    assert (report.total.documents, report.total.unknown, report.total.unknown_in) == (3, 2, "thai")
    assert unknown_line(report.total) in caplog.messages
    assert report.to_json()["total"]["unknown"] == 2


def test_dropped_spaces(texts: list[str], tmp_path: Path) -> None:
    """A tokenizer that drops spaces and counts on without them, so that places in texts are wrong, is refused."""
    tokenizer = byte_bpe(texts[:30])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    WordTokenizer(tmp_path)
    tokenizer = Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_str()) | {"pre_tokenizer": None}))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("heat heat", add_special_tokens=False).offsets[-1][1] == len("heat") * 2
    with pytest.raises(ModelError, match="drops spaces and has neither a pre_tokenizer nor an unknown token"):
        WordTokenizer(tmp_path)
