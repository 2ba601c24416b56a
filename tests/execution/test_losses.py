"""A run that lost everything, or most, is none; what a file lacks is told."""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus.errors import BudgetError
from embed_corpus.execution.run import run
from embed_corpus.job.config import JobConfig
from kit.source_files import write_jsonl, write_parquet

pytestmark = pytest.mark.process

LOST = {
    "null": pa.table({"id": ["a", "b"], "text": pa.nulls(2, pa.string())}),
    "no-ids": pa.table({"id": pa.nulls(2, pa.string()), "text": ["x", "y"]}),
}
TOLD = {
    "null": r"not one of 2 rows became a document \(empty 2\).*Text column 'text': null, missing or blank in every row",
    "no-ids": r"not one of 2 rows became a document \(no_id 2\).*Id column 'id' is null",
    "no-bytes": "the input holds no row any more",
}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below, by name."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def spoil(corpus: Path, how: str) -> None:
    """Replace a corpus by one that gives nothing."""
    if how == "no-bytes":
        (corpus / "a.parquet").unlink()
        (corpus / "a.jsonl").touch()
    else:
        pq.write_table(LOST[how], corpus / "a.parquet")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[Path, JobConfig]:
    """A corpus, and the job that has embedded and indexed it."""
    folder = tmp_path_factory.mktemp("night")
    write_parquet(folder / "in" / "a.parquet", {"id": ["a", "b"], "text": ["heat", "wing"]})
    (folder / "in" / "nothing.jsonl").touch()
    write_parquet(
        folder / "in" / "nothing.parquet", {"id": pa.array([], pa.string()), "text": pa.array([], pa.string())}
    )
    options = {"id_column": "id", "index": "flat", "prune": True, "max_rejects": "100%"}
    config = JobConfig((str(folder / "in"),), folder / "out", str(tiny_model), devices="cpu", **options)
    assert run(config).snapshot == 1  # empty files are no fault
    return folder, config


@pytest.mark.parametrize("how", TOLD)
def test_the_result_of_yesterday_stays(night: tuple[Path, JobConfig], how: str) -> None:
    """No document of any row, or no row where there were some: exit 3, the cause, and snapshot and index untouched."""
    folder, config = night
    before = [contents(folder / "out" / name) for name in ("index", "_embed/snapshots")]
    spoil(folder / "in", how)
    try:
        for _ in range(1 + (how == "null")):  # the second time all parts are there
            with pytest.raises(BudgetError, match=TOLD[how]) as error:
                run(config)
            assert "Snapshot 1 with 2 documents stays" in str(error.value)
    finally:
        write_parquet(folder / "in" / "a.parquet", {"id": ["a", "b"], "text": ["heat", "wing"]})
        (folder / "in" / "a.jsonl").unlink(missing_ok=True)
    assert [contents(folder / "out" / name) for name in ("index", "_embed/snapshots")] == before
    assert before[0]


def test_files_that_give_little_are_named(tmp_path: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file without a document, and one of mostly empty texts, are named with their reasons; a good one is not."""
    write_jsonl(tmp_path / "in" / "good.jsonl", *({"text": f"page {i}"} for i in range(20)), {"text": ""})
    write_jsonl(tmp_path / "in" / "silent.jsonl", {"text": None}, {"text": 5})
    write_parquet(tmp_path / "in" / "poor.parquet", {"text": ["heat", None, None]})
    config = JobConfig((str(tmp_path / "in"),), tmp_path / "out", str(tiny_model), devices="cpu")
    with caplog.at_level(logging.WARNING, "embed_corpus"):
        assert run(config).total.documents == 21
    assert "no document came of silent.jsonl (2 rows: empty 1, wrong_type 1)" in caplog.text
    assert "most texts are empty (text column 'text') in poor.parquet (3 rows: empty 2)" in caplog.text
    assert "good.jsonl" not in caplog.text


def test_more_than_half_is_too_much(tmp_path: Path, tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The ten rejects that always may be do not cover most of a small corpus; that most texts are empty is told."""
    write_jsonl(tmp_path / "in" / "a.jsonl", {"text": "heat"}, {"text": 5}, {"text": 6})
    config = JobConfig((str(tmp_path / "in"),), tmp_path / "out", str(tiny_model), devices="cpu")
    with pytest.raises(BudgetError, match=r"2 of 3 rows were rejected \(wrong_type 2\): more than half"):
        run(config)
    write_jsonl(tmp_path / "in" / "a.jsonl", {"text": "heat"}, {"text": ""}, {"text": None})
    with caplog.at_level(logging.WARNING, "embed_corpus"):
        assert run(JobConfig((str(tmp_path / "in"),), tmp_path / "new", str(tiny_model), devices="cpu")).snapshot == 1
    assert "2 of 3 texts are empty (text column 'text'): is it the right column?" in caplog.text
