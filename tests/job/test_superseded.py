"""`--on-duplicate last`: of all rows of an id the newest alone stands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embed_corpus.execution.run import run
from embed_corpus.job.config import JobConfig
from embed_corpus.job.superseded import superseded_rows, without_superseded
from embed_corpus.source.columns import Columns
from embed_corpus.source.marks import is_marked, marks_of
from embed_corpus.source.plan import Plan
from embed_corpus.source.read import read_shard
from kit.source_files import plan_of, write_jsonl
from kit.tiny import Command

BY_ID = Columns(("text",), "id")


def newest(plan: Plan) -> Plan:
    return without_superseded(plan, superseded_rows(plan.shards, "id"))


@settings(deadline=None)
@given(marked=st.lists(st.booleans(), max_size=100), first=st.integers(0, 1 << 40), beside=st.integers(-3, 3))
def test_marks(marked: list[bool], first: int, beside: int) -> None:
    """Marks tell which rows were marked, wherever a block of rows begins and ends."""
    rows = first + np.arange(len(marked) + 3) + beside
    expected = [0 <= row - first < len(marked) and marked[row - first] for row in rows.tolist()]
    assert is_marked(rows, marks_of(np.array(marked, bool), first)).tolist() == expected


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=4))
def test_what_stands_is_a_dictionary(tmp_path_factory: object, files: list[list[int]]) -> None:
    """What is left is what a dictionary holds into which all rows are put in order, JSONL and Parquet alike."""
    folder = Path(tmp_path_factory.mktemp("dumps"))  # type: ignore[attr-defined]
    expected: dict[str, str] = {}
    for day, ids in enumerate(files):
        rows = [{"id": str(i), "text": f"{day}.{nth}"} for nth, i in enumerate(ids)]
        expected |= {row["id"]: row["text"] for row in rows}
        if day % 2:
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{day}.parquet")
        else:
            write_jsonl(folder / f"{day}.jsonl", *rows)
    found = [block for shard in newest(plan_of(folder, BY_ID)).shards for block in read_shard(shard, BY_ID, {})]
    left = [row for block in found for row in block.table.to_pylist()]
    assert {row["doc_id"]: row["text"] for row in left} == expected
    assert len(left) == len(expected)
    rejected = [reject.reason for block in found for reject in block.rejects]
    assert rejected == ["superseded"] * (sum(map(len, files)) - len(expected))


def test_shards_without_superseded_rows_keep_their_id(tmp_path: Path) -> None:
    """Only a shard that loses rows becomes another; which rows it loses decides which one."""
    for day in range(3):
        write_jsonl(tmp_path / f"{day}.jsonl", {"id": f"only {day}", "text": "t"}, {"id": f"{day // 2}", "text": "t"})
    plain, marked = plan_of(tmp_path, BY_ID), newest(plan_of(tmp_path, BY_ID))
    same = [a.id == b.id for a, b in zip(plain.shards, marked.shards, strict=True)]
    assert same == [False, True, True]
    assert Plan.from_json(json.loads(json.dumps(marked.to_json()))).id == marked.id
    assert "superseded" not in json.dumps(plain.to_json())


def test_a_newest_row_that_is_no_document(tmp_path: Path) -> None:
    """A newest row stands even with a text that is empty or none; a line without an id supersedes nothing."""
    old = [{"id": name, "text": "old"} for name in ("empty", "number", "bad", "null")]
    write_jsonl(tmp_path / "a.jsonl", *old, {"id": "number", "text": 7})
    write_jsonl(
        tmp_path / "b.jsonl", {"id": "empty", "text": " "}, {"id": "number", "text": 5}, b'{"id": "bad"', {"id": None}
    )
    found = [block for shard in newest(plan_of(tmp_path, BY_ID)).shards for block in read_shard(shard, BY_ID, {})]
    assert [row["doc_id"] for block in found for row in block.table.to_pylist()] == ["bad", "null"]
    reasons = [(r.source[0], r.row, r.reason) for block in found for r in block.rejects]
    assert sorted(reasons) == [
        ("a", 0, "superseded"),
        ("a", 1, "superseded"),
        ("a", 4, "superseded"),
        ("b", 0, "empty"),
        ("b", 1, "wrong_type"),
        ("b", 2, "bad_json"),
        ("b", 3, "empty"),
    ]


def test_nights(embed_corpus: Command, tiny_model: Path, tmp_path: Path) -> None:
    """data/ equals the latest state of each document, is the same from scratch, and a second run has nothing to do."""
    dumps = tmp_path / "dumps"
    config = JobConfig(
        (str(dumps),),
        tmp_path / "out",
        str(tiny_model),
        id_column="id",
        keep_text=True,
        devices="cpu",
        on_duplicate="last",
        prune=True,
    )
    write_jsonl(dumps / "2024-01-01.jsonl", *({"id": str(i), "text": f"first {i}"} for i in range(30)))
    run(config)
    write_jsonl(dumps / "2024-01-02.jsonl", *({"id": str(i), "text": f"second {i}"} for i in range(0, 30, 2)))
    report = run(config)
    texts = {row["doc_id"]: row["text"] for row in ds.dataset(tmp_path / "out/data").to_table().to_pylist()}
    assert texts == {str(i): f"{('second', 'first')[i % 2]} {i}" for i in range(30)}
    assert (report.total.documents, report.total.rejects, report.total.budgeted) == (30, {"superseded": 15}, 0)
    assert run(config).fresh_parts == 0
    anew = run(
        JobConfig(
            config.input,
            tmp_path / "anew",
            config.model,
            id_column="id",
            keep_text=True,
            devices="cpu",
            on_duplicate="last",
        )
    )
    assert anew.total == report.total
    parts = [
        sorted((file.name, file.read_bytes()) for file in (tmp_path / o / "data").iterdir()) for o in ("out", "anew")
    ]
    assert parts[0] == parts[1]
    checked = embed_corpus("verify", tmp_path / "out", "--sample", 0)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.process
def test_a_file_that_is_superseded_is_not_lost(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file with a later row for each of its own is no broken one; one whose standing rows are empty is told."""
    dumps = tmp_path / "dumps"
    rows = [{"id": str(i), "text": f"text {i}"} for i in range(8)]
    write_jsonl(dumps / "a.jsonl", *rows)
    write_jsonl(dumps / "b.jsonl", *rows[1:], {"id": "none", "text": ""})
    write_jsonl(dumps / "c.jsonl", *rows)
    line = {"id_column": "id", "devices": "cpu", "on_duplicate": "last"}
    total = run(JobConfig((str(dumps),), tmp_path / "out", str(tiny_model), **line)).total
    assert (total.documents, total.budgeted) == (8, 0)
    told = [record.getMessage() for record in caplog.records if "no document came of" in record.getMessage()]
    assert len(told) == 1
    assert "b.jsonl (1 rows: empty 1)" in told[0]
    assert "a.jsonl" not in told[0]
