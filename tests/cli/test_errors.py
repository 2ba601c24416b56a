"""What does not fit is said in one message, with its exit code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus.errors import UsageError
from embed_corpus.job.config import JobConfig
from embed_corpus.job.options.input import parse_share
from embed_corpus.vectors.table import VECTOR_TYPES
from kit.ended import Call


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--chunk-tokens 0", "--chunk-tokens 0: must be at least 1."),
        ("--chunk-tokens 65", "--chunk-tokens 65: the model takes 64 at most, special ones included."),
        ("--chunk-overlap -1", "--chunk-overlap -1: must be at least 0."),
        ("--chunk-overlap 62", "too few for an overlap of 62. Raise --chunk-tokens or lower --chunk-overlap."),
        ("--chunk-overlap 4 --long truncate", "--chunk-overlap has no meaning with --long truncate: drop one of them."),
        ("--chunk-tokens 2", "Raise --chunk-tokens"),
        ("--limit 0", "--limit 0: must be at least 1."),
        ("--limit x", "'x' is not a valid integer"),
        ("--long x", "'x' is not one of 'split', 'truncate'."),
        ("--chunk-by x", "'x' is not one of 'tokens', 'sentences', 'paragraphs'."),
        ("--precision fp4", "'fp4' is not one of 'auto', 'fp32', 'fp16', 'bf16', 'fp8'."),
        ("--devices cpu --precision fp8", "--precision fp8 needs a GPU that has it"),
        ("--batch-tokens 0", "--batch-tokens 0: must be at least 1."),
        ("--vector-type int4", f"'int4' is not one of {', '.join(map(repr, VECTOR_TYPES))}."),
        ("--dim 0", "--dim 0: must be at least 1."),
        ("--dim 16", "add --force-dim to cut all the same."),
        ("--force-dim", "--force-dim has no meaning without --dim N"),
        ("--dim 20 --force-dim --vector-type ubinary", "20 dimensions do not fill bytes: add --dim N, N % 8 == 0."),
        ("--index bogus", "--index bogus: neither auto, flat, hnsw, ivf, ivfpq nor a FAISS factory string for 32"),
        ("--keep text", "--keep text: a part has a column of that name of its own. Use --keep-text for the text"),
        ("--keep doc_id", "--keep doc_id: a part has a column of that name of its own."),
        ("--max-rejects x", "--max-rejects 'x': give a share such as 0.1% or 0.001."),
        ("--max-rejects 101%", "--max-rejects '101%': give a share"),
        ("--max-rejects nan", "--max-rejects 'nan': give a share"),
        ("--devices x", "--devices 'x': give all, cpu, or GPU numbers such as 0,1."),
        ("--devices ²", "--devices '²': give all, cpu, or GPU numbers"),
        ("--devices 99", "--devices 99: there is no GPU 99;"),
        ("--bogus", "No such option '--bogus'."),
    ],
)
def test_usage_error(call: Call, line: list[object], tmp_path: Path, flags: str, message: str) -> None:
    """An option that cannot be met ends with code 2 and what to do; no worker was started and OUT is not claimed."""
    ended = call(*line, *flags.split())
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": ()}, "no INPUT"),
        ({"text_column": ()}, "no text column: name at least one with --text-column."),
        ({"long": "x"}, "--long 'x': choose one of split, truncate."),
        ({"precision": "fp4"}, "--precision 'fp4': choose one of auto, fp32, fp16, bf16, fp8."),
        ({"batch_tokens": -1}, "--batch-tokens -1: must be at least 1."),
        ({"vector_type": "int4"}, f"--vector-type 'int4': choose one of {', '.join(VECTOR_TYPES)}."),
    ],
)
def test_config_is_validated_in_python_too(fields: dict[str, Any], message: str) -> None:
    """A `JobConfig` made in Python refuses what the command refuses."""
    with pytest.raises(UsageError) as error:
        JobConfig(**{"input": ("a",), "output": Path("b")} | fields)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "rows", "allowed"), [("0.1%", 9, 10), ("0.1%", 50_000, 50), ("0.5", 100, 50), ("0", 10**6, 0)]
)
def test_share(text: str, rows: int, allowed: int) -> None:
    """A share of the rows may be rejected, ten always, and none if the share is 0."""
    assert JobConfig(("a",), Path("b"), max_rejects=text).rejects_allowed(rows) == allowed
    assert parse_share("12.5%") == 0.125


def test_wrong_column(call: Call, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A column that does not exist ends with code 4 and those that do, in every file."""
    pq.write_table(pa.table({"body": ["x"], "n": [1]}), corpus / "b.parquet")
    ended = call("run", corpus, tmp_path / "out", "--model", tiny_model, "--text-column", "txt")
    assert (ended.code, ended.out) == (4, "")
    assert f"{corpus / 'a.jsonl'} has no column 'txt'. It has: id, text. Name one with --text-column." in ended.err
    assert f"{corpus / 'b.parquet'} has no column 'txt'. It has: body, n." in ended.err


@pytest.mark.parametrize("name", ["gone", "*.gone"])
def test_missing_input(call: Call, tiny_model: Path, tmp_path: Path, name: str) -> None:
    """An INPUT that is not there ends with code 4, and OUT is not claimed."""
    ended = call("run", tmp_path / name, tmp_path / "out", "--model", tiny_model)
    assert ended.code == 4
    assert f"INPUT '{tmp_path / name}' " in ended.err
    assert not (tmp_path / "out").exists()


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "no such folder. Give the folder that holds modules.json."),
        (_drop("config.json"), "lacks config.json. Needed are"),
        (_drop("modules.json"), "lacks modules.json, then"),
        (_drop("tokenizer.json"), "lacks tokenizer.json: save its tokenizer"),
        (_drop("model.safetensors"), "holds no *.safetensors: save the model as safetensors."),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read: "),
        (lambda folder: (folder / "modules.json").write_text("{}"), "modules.json holds no list."),
    ],
)
def test_unreadable_model(
    call: Call, line: list[object], tmp_path: Path, harm: Callable[[Path], object], message: str
) -> None:
    """A model folder that lacks something ends with code 2, naming the file and what is needed."""
    shutil.copytree(str(line[-1]), tmp_path / "model")
    harm(tmp_path / "model")
    ended = call(*line, "--model", tmp_path / "model")
    assert ended.code == 2
    assert str(tmp_path / "model") in ended.err
    assert message in ended.err


# ── OUT ───────────────────────────────────────────────────────────────────────────────────
