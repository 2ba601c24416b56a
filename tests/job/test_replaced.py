"""A source that grew, moved or was edited keeps the vectors of what stayed, and its parts are those of a clean run."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from edits import Kind, Night
from embed_corpus.execution import reuse
from embed_corpus.source.formats import base

LINES = Kind("x.jsonl", {}, pa.string())


def rows(numbers: range | list[int]) -> dict[str, list[Any]]:
    """Documents whose texts tell their numbers."""
    texts = [f"the flow of air number {i:03} over a heated wing" for i in numbers]
    return {"id": [f"p{i:03}" for i in numbers], "text": texts, "year": list(numbers)}


@pytest.fixture
def night(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    """An OUT over 50 lines in shards of 20, embedded."""
    monkeypatch.setattr(base, "SHARD_ROWS", 20)
    night = Night(tmp_path / "in", tmp_path / "out", tiny_model)
    night.folder.mkdir()
    LINES.write(night.folder / "x.jsonl", rows(range(50)))
    night.embed(night.prepared())
    return night


def as_clean(night: Night, out: Path, **options: Any) -> None:
    """Compare the parts with those of a run without anything to take over, byte by byte."""
    clean = Night(night.folder, out, night.model)
    clean.embed(clean.prepared(**options))
    ours, theirs = ({f.name: f.read_bytes() for f in (o / "data").iterdir()} for o in (night.out, out))
    assert ours == theirs


def renamed(night: Night) -> None:
    """Give the file another name."""
    (night.folder / "x.jsonl").rename(night.folder / "z.jsonl")


def moved(night: Night) -> None:
    """Put the file into a folder."""
    (night.folder / "deep").mkdir()
    (night.folder / "x.jsonl").rename(night.folder / "deep" / "x.jsonl")


def lines_of(numbers: list[int]) -> Callable[[Night], None]:
    """Write other lines."""
    return lambda night: LINES.write(night.folder / "x.jsonl", rows(numbers))


CHANGES = {
    "appended": (lines_of([*range(53)]), 3),
    "put before": (lines_of([90, *range(50)]), 1),
    "taken away": (lines_of([*range(7), *range(12, 50)]), 0),
    "turned round": (lines_of([*range(40, 50), *range(10, 40), *range(10)]), 0),
    "renamed": (renamed, 0),
    "moved": (moved, 0),
}


@pytest.mark.heavy
@pytest.mark.parametrize("ids", ["id", None], ids=["own ids", "made-up ids"])
@pytest.mark.parametrize("change", CHANGES)
def test_only_what_is_new_is_embedded(night: Night, tmp_path: Path, change: str, ids: str | None) -> None:
    """Rows may move between shards and files, and get other ids by it; the parts are a clean run's, byte for byte."""
    if ids is None:
        night.out = tmp_path / "made-up"
        night.embed(night.prepared(id_column=None))
    make, n_new = CHANGES[change]
    make(night)
    night.embed(night.prepared(id_column=ids))
    assert night.n_embedded == n_new
    as_clean(night, tmp_path / "clean", id_column=ids)


def test_an_interrupted_night_takes_over_too(night: Night) -> None:
    """A run that was killed before its first part has left its plan; the next still finds the parts to take from."""
    lines_of([*range(53)])(night)
    night.prepared()
    night.embed(night.prepared())
    assert night.n_embedded == 3


def test_a_damaged_part_gives_nothing(night: Night, tmp_path: Path) -> None:
    """What it held is embedded again, to the same bytes."""
    for file in (night.out / "data").iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    lines_of([*range(53)])(night)
    night.embed(night.prepared())
    assert night.n_embedded == 53


def test_late_chunking_takes_nothing_over(night: Night, tmp_path: Path) -> None:
    """A vector depends on its whole document there."""
    night.out = tmp_path / "late"
    night.embed(night.prepared(late_chunking=True, chunk_tokens=32))
    lines_of([*range(53)])(night)
    job = night.prepared(late_chunking=True, chunk_tokens=32)
    assert (len(job.todo) > 0, job.earlier) == (True, {})


@pytest.mark.heavy
@pytest.mark.parametrize("checked", [True, False])
def test_half_words_are_taken_over_with_their_document_alone(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, checked: bool
) -> None:
    """A word cut in two where a chunk began leaves its text as it was, but the tokens are no inner ones any more."""
    if not checked:
        monkeypatch.setattr(reuse._Old, "_whole", lambda _, block, *__: np.ones(len(block.chunks), np.bool_))
    dice = random.Random(3)
    night = Night(tmp_path / "in", tmp_path / "out", tiny_model)
    night.folder.mkdir()
    texts = ["".join(dice.choices("bcdfgh", k=90)) for _ in range(20)]
    ids = {"id": [str(i) for i in range(20)], "year": [0] * 20}
    LINES.write(night.folder / "x.jsonl", ids | {"text": texts})
    night.embed(night.prepared(chunk_tokens=12))
    starts = night.table().select(["doc_id", "char_start"]).to_pylist()
    for doc in range(15):
        at = dice.choice([row["char_start"] for row in starts if row["doc_id"] == str(doc) and row["char_start"]])
        texts[doc] = f"{texts[doc][: at - 1]} {texts[doc][at:]}"
    LINES.write(night.folder / "x.jsonl", ids | {"text": texts})
    night.embed(night.prepared(chunk_tokens=12))
    clean = Night(night.folder, tmp_path / "clean", tiny_model)
    clean.embed(clean.prepared(chunk_tokens=12))
    assert night.taken_over > 0
    assert night.table().equals(clean.table()) == checked
