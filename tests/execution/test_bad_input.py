"""Bad rows and bad files from end to end: what is good is embedded, what is bad is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from embed_corpus.data import Reason, Reject
from embed_corpus.job.config import JobConfig
from embed_corpus.job.output import open_output
from embed_corpus.job.prepare import prepare
from embed_corpus.sink.rejects import publish_rejects, read_rejects
from embed_corpus.store.layout import Layout
from embed_corpus.verbs.verify import verify
from kit import forked
from kit.places import at

pytestmark = pytest.mark.process

PARQUET = [b"first", None, b"", b" \n", b"not \xff\xfe utf8", b"second", b"third"]
"""Texts; the ids are p0, p1, … but the last one's, which is p0 again."""
JSONL = [
    b'{"id": "j0", "text": "one"}',
    b'{"id": "j1", "text": "cut off',
    b'{"id": "j2", "text": "not \xff utf8"}',
    b"",
    b'{"id": "j4", "text": null}',
    b'{"id": "j0", "text": "again"}',
    b'{"id": "j6", "text": 6}',
    b'{"id": null, "text": "seven"}',
    b'{"id": "j8", "text": "two"}',
]
EXPECTED = [
    ("j.jsonl", 1, "bad_json"),
    ("j.jsonl", 2, "invalid_utf8"),
    ("j.jsonl", 3, "empty"),
    ("j.jsonl", 4, "empty"),
    ("j.jsonl", 5, "duplicate_id"),
    ("j.jsonl", 6, "wrong_type"),
    ("j.jsonl", 7, "no_id"),
    ("p.parquet", 1, "empty"),
    ("p.parquet", 2, "empty"),
    ("p.parquet", 3, "empty"),
    ("p.parquet", 4, "invalid_utf8"),
    ("p.parquet", 6, "duplicate_id"),
]
REASONS = Counter(reason for _, _, reason in EXPECTED)

Done = subprocess.CompletedProcess[str]


def command(*args: object) -> Done:
    """Run the command in a process of its own."""
    done = forked.command(*args)
    assert "Traceback" not in done.stderr
    return done


def snapshots(out: Path) -> list[Path]:
    """The snapshots of OUT."""
    return sorted((out / "_embed" / "snapshots").glob("*"))


@dataclass(frozen=True)
class Result:
    """A finished run: its OUT and what it said."""

    out: Path
    run: Done


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Result:
    """A run over good and bad rows in both kinds of file, and a file of no rows; half may be bad."""
    folder = tmp_path_factory.mktemp("mixed")
    (folder / "in").mkdir()
    raw = pa.array(PARQUET, pa.binary())
    valid, offsets, values = raw.buffers()
    text = pa.StringArray.from_buffers(len(raw), offsets, values, valid)  # Arrow does not look whether it is UTF-8
    table = pa.table({"id": ["p0", "p1", "p2", "p3", "p4", "p5", "p0"], "text": text})
    pq.write_table(table, folder / "in" / "p.parquet")
    pq.write_table(table[:0], folder / "in" / "empty.parquet")
    (folder / "in" / "j.jsonl").write_bytes(b"\n".join(JSONL))
    flags = ("--model", tiny_model, "--id-column", "id", "--max-rejects", "50%", "--devices", "cpu")
    return Result(folder / "out", command("run", folder / "in", folder / "out", *flags))


def test_good_rows_are_embedded(mixed: Result) -> None:
    """Bad rows within the budget are no failure: all good ones are embedded, and only those."""
    assert mixed.run.returncode == 0, mixed.run.stderr
    table = ds.dataset(mixed.out / "data").to_table()
    assert sorted(table["doc_id"].to_pylist()) == ["j0", "j8", "p0", "p5"]
    assert len(list((mixed.out / "data").iterdir())) == 3
    assert len(snapshots(mixed.out)) == 1


@pytest.mark.parametrize("source", ["run", "status"])
def test_rows_add_up(mixed: Result, source: str) -> None:
    """Rows = documents + rejects, and the rejects are told by reason, at the run's end and ever after."""
    said = mixed.run.stdout if source == "run" else command("status", mixed.out).stdout
    found = re.search(r"(\d+) rows: (\d+) documents in (\d+) chunks of \d+ tokens, (\d+) rejects \((.*)\)", said)
    assert found is not None
    rows, documents, chunks, rejects = map(int, found.groups()[:4])
    assert rows == documents + rejects == len(PARQUET) + len(JSONL)
    assert (documents, chunks, rejects) == (4, 4, len(EXPECTED))
    assert found[5] == ", ".join(f"{reason} {n}" for reason, n in sorted(REASONS.items()))


def test_every_reject_is_listed(mixed: Result) -> None:
    """`status --rejects` tells source, row and reason of each, one JSON object a line, and no text."""
    lines = [json.loads(line) for line in command("status", mixed.out, "--rejects").stdout.splitlines()]
    assert sorted((line["source"], line["row"], line["reason"]) for line in lines) == EXPECTED
    assert {line["row"]: line["doc_id"] for line in lines if line["reason"] == "duplicate_id"} == {5: "j0", 6: "p0"}
    assert "again" not in json.dumps(lines)


def test_rejected_texts_on_request(tmp_path: Path) -> None:
    """With --reject-bytes N the record holds the first N bytes of what was refused, invalid ones as \\xNN."""
    rejects = [
        Reject("a.jsonl", 0, Reason.BAD_JSON, value=b'{"text": "wing'),
        Reject("a.jsonl", 1, Reason.INVALID_UTF8, value=b"ab\xffcd"),
        Reject("a.jsonl", 2, Reason.NO_TOKENS, value="aé".encode()),
    ]
    publish_rejects(Layout(tmp_path), "5ha4d", rejects, 4)
    assert [r["value"] for r in read_rejects(Layout(tmp_path), "5ha4d")] == ['{"te', "ab\\xffc", "aé"]
    assert Reject("a", 0, Reason.EMPTY, value="aé".encode()).to_json(2)["value"] == "a"


def test_strict(tmp_path: Path, tiny_model: Path) -> None:
    """With --strict one bad row is one too many; its text is on record if asked for."""
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "good"}\n' * 3 + b"{bad\n" + b'{"text": " "}\n{"text": "b\xff"}\n')
    line = ("run", tmp_path / "in.jsonl", tmp_path / "out", "--model", tiny_model, "--devices", "cpu")
    done = command(*line, "--strict", "--reject-bytes", "100")
    assert done.returncode == 3, done.stderr
    assert "2 of 6 rows were rejected" in done.stderr
    listed = command("status", tmp_path / "out", "--rejects").stdout.splitlines()
    assert [json.loads(row)["value"] for row in listed] == ["{bad", " ", '{"text": "b\\xff"}']


def test_shards_with_rejects_are_done_again(mixed: Result, tmp_path: Path) -> None:
    """--retry-rejects sets just the parts with rejects aside, with their records; empty texts are no reason."""
    out = Path(shutil.copytree(mixed.out, tmp_path / "out"))
    before = set(Layout(out).parts())
    job = json.loads((out / "_embed" / "run.json").read_text())
    config = {"id_column": "id", "max_rejects": "50%", "devices": "cpu", "model": job["model"]}
    todo = prepare(JobConfig(tuple(job["input"]), out, retry_rejects=True, **config)).todo
    assert sorted(shard.source for shard in todo) == ["j.jsonl", "p.parquet"]
    assert before - set(Layout(out).parts()) == {shard.part_name for shard in todo}
    assert not list(at(Layout(out).rejects).iterdir())


def test_result_with_rejects_is_sound(mixed: Result) -> None:
    """`verify` finds nothing wrong with a result that has rejects."""
    checked = command("verify", mixed.out)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert {line.split()[0] for line in checked.stdout.splitlines()} == {"ok"}


def test_over_the_budget(tmp_path: Path, tiny_model: Path) -> None:
    """Too many bad rows end with code 3: parts stay, no snapshot comes; allowed for, nothing is done twice."""
    (tmp_path / "in.jsonl").write_bytes(b'{"text": "good"}\n' * 3 + b"{bad\n" * 11 + b"\n" * 5)
    line = ("run", tmp_path / "in.jsonl", tmp_path / "out", "--model", tiny_model, "--devices", "cpu")
    done = command(*line)
    assert done.returncode == 3, done.stderr
    assert "error: 11 of 19 rows were rejected (bad_json 11), 10 are allowed by --max-rejects 0.1%." in done.stderr
    assert ds.dataset(tmp_path / "out" / "data").count_rows() == 3
    assert snapshots(tmp_path / "out") == []
    again = command(*line, "--max-rejects", "60%")
    assert again.returncode == 0, again.stderr
    assert "nothing to do: all 1 parts were there already" in again.stdout
    assert len(snapshots(tmp_path / "out")) == 1


def test_a_hopeless_run_stops_early(tmp_path: Path, tiny_model: Path) -> None:
    """When a tenth of 10,000 rows is bad, and more than is allowed of all, the run ends with 3 before its end."""
    (tmp_path / "in.jsonl").write_bytes((b'{"text": "good"}\n' * 3 + b"{bad\n") * 6_000)
    line = ("run", tmp_path / "in.jsonl", tmp_path / "out", "--model", tiny_model, "--devices", "cpu")
    done = command(*line)
    assert done.returncode == 3, done.stderr
    assert re.search(r"stopped early: 2,\d\d\d of the first 10,\d\d\d rows were rejected \(bad_json 2,", done.stderr)
    assert not (tmp_path / "out" / "data").exists()
    assert command(*line, "--max-rejects", "30%").returncode == 0


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    """A good source and another, of checked pages."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.jsonl").write_text('{"text": "good"}\n')
    table = pa.table({"text": [f"text {i}" for i in range(99)]})
    pq.write_table(table, tmp_path / "in" / "bad.parquet", write_page_checksum=True, compression="none")
    return tmp_path / "in"


def test_unreadable_file(two_files: Path, tmp_path: Path, tiny_model: Path) -> None:
    """A file that is seen to be corrupt ends the run with code 4 before anything is embedded, naming it."""
    (two_files / "bad.parquet").write_bytes(b"PAR1 garbage PAR1")
    done = command("run", two_files, tmp_path / "out", "--model", tiny_model, "--devices", "cpu")
    assert done.returncode == 4
    assert f"error: {two_files / 'bad.parquet'} cannot be read: " in done.stderr
    assert not (tmp_path / "out").exists()


def test_file_that_turns_out_unreadable(two_files: Path, tmp_path: Path, tiny_model: Path) -> None:
    """A file that is corrupt inside costs itself alone: all others are embedded, code 4 names it, no snapshot."""
    content = (two_files / "bad.parquet").read_bytes()
    (two_files / "bad.parquet").write_bytes(content.replace(b"text 50", b"text !!"))
    done = command("run", two_files, tmp_path / "out", "--model", tiny_model, "--devices", "cpu")
    assert done.returncode == 4, done.stderr
    assert "1 of 2 shards could not be embedded, all others are done:" in done.stderr
    assert str(two_files / "bad.parquet") in done.stderr
    assert ds.dataset(tmp_path / "out" / "data").to_table()["doc_id"].to_pylist() == ["good.jsonl#0"]
    assert snapshots(tmp_path / "out") == []


def test_files_left_out(two_files: Path, tmp_path: Path, tiny_model: Path) -> None:
    """--max-bad-files: a result without the bad file, told everywhere and sound; mended, the same line embeds it."""
    bad, out = two_files / "bad.parquet", tmp_path / "out"
    content = bad.read_bytes()
    bad.write_bytes(content[:-100])
    line = ("run", two_files, out, "--model", tiny_model, "--devices", "cpu", "--max-bad-files", "1")
    done, status = command(*line), command("status", out)
    assert done.returncode == 0, done.stderr
    assert f"left out (--max-bad-files): {bad} cannot be read: " in done.stderr
    for said in (done.stdout, status.stdout):
        assert f"1 source files are left out:\n  {bad} cannot be read: " in said
    (report,) = (out / "_embed" / "runs").iterdir()
    assert list(json.loads(report.read_text())["bad_files"]) == [str(bad)]
    assert ds.dataset(out / "data").to_table()["doc_id"].to_pylist() == ["good.jsonl#0"]
    assert all(check.ok for check in verify(out, 0).checks)
    bad.write_bytes(content)
    mended = command(*line)
    assert mended.returncode == 0, mended.stderr
    assert "100 rows: 100 documents" in mended.stdout
    assert "2 of 2 parts, 1 of them new; snapshot 2" in mended.stdout
    assert "left out" not in mended.stdout + mended.stderr
    assert open_output(out).last_run.bad_files == {}


def test_more_bad_files_than_allowed(two_files: Path, tmp_path: Path, tiny_model: Path) -> None:
    """With one bad file more than --max-bad-files the run ends as without it: code 4, all named, nothing begun."""
    for name in ("bad.parquet", "worse.parquet"):
        (two_files / name).write_bytes(b"PAR1 garbage PAR1")
    line = ("run", two_files, tmp_path / "out", "--model", tiny_model, "--devices", "cpu")
    for options in (("--max-bad-files", "1"), ("--max-bad-files", "9", "--strict")):
        done = command(*line, *options)
        assert done.returncode == 4
        assert all(f"{two_files / name} cannot be read: " in done.stderr for name in ("bad.parquet", "worse.parquet"))
        assert not (tmp_path / "out").exists()
