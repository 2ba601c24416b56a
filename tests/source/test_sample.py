"""A sample of a plan's rows: where it lies, and that it is read as it stands in the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embed_corpus.source.columns import Columns
from embed_corpus.source.sample import read_places, spread
from kit.source_files import PACKED, TEXT, blocks_of, documents, plan_of, texts, write_jsonl, write_parquet


def read(folder: Path, rows_each: int, n_places: int = 5, columns: Columns = TEXT, seed: int = 0) -> dict[int, str]:
    """The sampled documents of a folder by their row in the plan."""
    plan = plan_of(folder, columns)
    places = spread(plan.rows, n_places, rows_each, np.random.default_rng(seed))
    found: dict[int, str] = {}
    for numbers, rows in read_places(plan, places, columns, {}):
        found |= dict(zip(numbers.tolist(), rows.table["text"].to_pylist(), strict=True))
    assert set(found) <= set(np.concatenate(places.rows).tolist())
    return found


@pytest.mark.parametrize("rows_each", [1, 3, 8, 100])
def test_every_place_lies_in_its_stretch(rows_each: int) -> None:
    """Places are as large as asked, or their stretch; no row comes twice, and none lies in another's stretch."""
    places = spread(52, 5, rows_each, np.random.default_rng(0))
    for rows, first, end in zip(places.rows, places.edges[:-1], places.edges[1:], strict=True):
        assert len(set(rows.tolist())) == len(rows) == min(rows_each, end - first)
        assert first <= rows.min() <= rows.max() < end


def test_every_row_has_the_same_chance() -> None:
    """Over many draws each row of a stretch comes about as often as any other, those at its ends too."""
    dice = np.random.default_rng(0)
    seen = np.bincount(np.concatenate([row for _ in range(2000) for row in spread(20, 2, 3, dice).rows]), minlength=20)
    assert np.abs(seen / 2000 - 0.3).max() < 0.05


@pytest.mark.parametrize("rows_each", [2, 7, 20])
@pytest.mark.parametrize("packed", PACKED)
def test_rows_are_those_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: str, rows_each: int
) -> None:
    """Sampled documents are what a whole reading gives at these rows, from files of every kind, cut as they may be."""
    monkeypatch.setattr("embed_corpus.source.formats.base.SHARD_ROWS", 9)
    write_parquet(tmp_path / "a.parquet", texts(0, 7), texts(7, 20), texts(27, 4))
    write_jsonl(tmp_path / f"b.jsonl{packed}", *({"text": f"line {i}"} for i in range(40)))
    write_parquet(tmp_path / "c.parquet", texts(100, 3))
    whole = [text for _, text in documents(blocks_of(tmp_path))]
    for seed in range(5):
        found = read(tmp_path, rows_each, seed=seed)
        assert found == {row: whole[row] for row in found}
        assert len(found) == min(5 * rows_each, len(whole))


def test_rejects_are_left_out(tmp_path: Path) -> None:
    """A row that is no document is none in the sample either, and the others keep their rows."""
    write_jsonl(tmp_path / "a.jsonl", *(b"{" if i % 3 == 1 else {"text": f"line {i}"} for i in range(30)))
    found = read(tmp_path, 4)
    assert found == {row: f"line {row}" for row in found}
    assert 0 < len(found) < 20
