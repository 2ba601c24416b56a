"""A source that was touched is believed by its content alone; what stayed keeps its vectors."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edits import Kind, Night
from embed_corpus import __version__
from embed_corpus.job import identity
from embed_corpus.job.identity import of_other_content
from embed_corpus.sink.quarantine import set_aside
from embed_corpus.sink.readback import shard_id_of
from embed_corpus.source import inspected as known
from embed_corpus.source.formats import base, parquet
from embed_corpus.store.base import Key
from kit.places import at
from kit.tiny import Command

FLAT = Kind("x.parquet", {"compression": "none", "row_group_size": 10, "write_statistics": False}, pa.string())
"""Of which an edit of the same length leaves size and footer."""
LINES = Kind("x.jsonl", {}, pa.string())


def rows(n: int = 40, **changes: str) -> dict[str, list[Any]]:
    """Documents `p000`, `p001`, … whose texts tell their number; some of them others, by id."""
    ids = [f"p{i:03}" for i in range(n)]
    texts = [changes.get(doc_id, f"the flow of air number {i:03} over a heated wing") for i, doc_id in enumerate(ids)]
    return {"id": ids, "text": texts, "year": list(range(n))}


EDIT = {"p003": "the flow of AIR number 003 over a heated wing"}


@pytest.fixture
def night(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    """An OUT over 40 rows in shards of 20, embedded and noted however new the file is."""
    monkeypatch.setattr(base, "SHARD_ROWS", 20)
    monkeypatch.setattr(known, "_SETTLED_NS", -(1 << 62))
    night = Night(tmp_path / "in", tmp_path / "out", tiny_model)
    night.folder.mkdir()
    FLAT.write(night.folder / FLAT.name, rows())
    night.embed(night.prepared())
    return night


def edit(night: Night, **changes: str) -> None:
    """Change texts in place; size, footer and time of the file stay."""
    file = night.folder / FLAT.name
    before, footer = file.stat(), parquet._footer_hash(file)
    FLAT.write(file, rows(**changes))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (parquet._footer_hash(file), file.stat().st_size) == (footer, before.st_size)


def texts(night: Night) -> dict[str, str]:
    """What was embedded, by id."""
    table = night.table()
    return dict(zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True))


def lose(night: Night) -> None:
    """Let the note of the sources be lost."""
    (night.out / "_embed" / "sources.json").unlink()


def lose_all(night: Night) -> None:
    """Let all notes be lost: the parts tell what they were read from."""
    lose(night)
    shutil.rmtree(night.out / "_embed" / "stats")


def other_version(night: Night) -> None:
    """Let the note be of another version."""
    note = night.out / "_embed" / "sources.json"
    assert f'"version": "{__version__}"' in note.read_text()
    note.write_text(note.read_text().replace(f'"version": "{__version__}"', '"version": "0.0"'))


def nothing(night: Night) -> None:
    """Leave the notes as they are."""


@pytest.mark.heavy
@pytest.mark.parametrize("lost", [nothing, lose, lose_all, other_version])
def test_an_edit_behind_footer_size_and_time_is_embedded(night: Night, lost: Any) -> None:
    """Both shards are new ones, only the edited chunk is embedded, and the next nights find nothing to do."""
    edit(night, **EDIT)
    lost(night)
    job = night.prepared()
    assert (len(job.todo), len(job.stale)) == (2, 2)
    night.embed(job)
    whole = sum(night.table()["n_tokens"].to_pylist())
    assert texts(night)["p003"] == EDIT["p003"]
    if lost is not lose_all:  # which also tells how they were made
        assert whole * 0.9 < night.taken_over < whole
    for again in (nothing, lose, lose_all, other_version):
        again(night)
        assert not night.prepared().todo, again


@pytest.mark.parametrize("lost", [nothing, lose, lose_all, other_version])
def test_a_touch_embeds_nothing(night: Night, lost: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A touched file is read once, and then believed again."""
    os.utime(night.folder / FLAT.name)
    lost(night)
    assert not night.prepared().todo
    monkeypatch.setattr(identity, "group_digests", None)
    assert not night.prepared().todo


def test_what_was_not_touched_is_not_read(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a file that is known, also by another version, nor one that is new to OUT."""
    monkeypatch.setattr(identity, "group_digests", None)
    assert not night.prepared().todo
    other_version(night)
    assert not night.prepared().todo
    shutil.copy(night.folder / FLAT.name, night.folder / "new.parquet")
    assert {shard.source for shard in night.prepared().todo} == {"new.parquet"}


def test_only_paranoid_sees_what_no_time_tells(night: Night) -> None:
    """Where a file system tells no time of change, --paranoid compares all the same; unchanged, it embeds nothing."""
    assert not night.prepared(paranoid=True).todo
    edit(night, **EDIT)
    note = night.out / "_embed" / "sources.json"
    content = json.loads(note.read_text())
    (entry,) = content["sources"].values()
    entry["ctime_ns"] = (night.folder / FLAT.name).stat().st_ctime_ns
    note.write_text(json.dumps(content))
    assert not night.prepared().todo, "this is what --paranoid is for"
    night.embed(night.prepared(paranoid=True))
    assert texts(night)["p003"] == EDIT["p003"]
    assert not night.prepared(paranoid=True).todo


def test_a_parquet_file_by_another_name(night: Night) -> None:
    """One whose ending says nothing is told by its first bytes, and no more believed by its footer."""
    (night.folder / FLAT.name).rename(night.folder / "rows")
    options = {"format": "parquet"}
    night.embed(night.prepared(**options))
    content = (night.folder / "rows").read_bytes()
    FLAT.write(night.folder / FLAT.name, rows(**EDIT))
    new = (night.folder / FLAT.name).read_bytes()
    (night.folder / FLAT.name).unlink()
    assert len(new) == len(content)
    (night.folder / "rows").write_bytes(new)
    night.embed(night.prepared(**options))
    assert texts(night)["p003"] == EDIT["p003"]


def test_edited_twice_and_back(night: Night) -> None:
    """Each content has its ids, whatever was there before; none is mixed up with another."""
    for changes in (EDIT, {"p030": EDIT["p003"]}, {}, EDIT):
        edit(night, **changes)
        lose(night)
        night.embed(night.prepared())
        assert texts(night) == dict(zip(rows()["id"], rows(**changes)["text"], strict=True))
        assert not night.prepared().todo


def test_parts_of_a_version_that_noted_no_digest(night: Night) -> None:
    """Untouched they stand; behind a touched file they cannot be told from old ones, so they are made again."""
    for file in (night.out / "_embed" / "stats").iterdir():
        file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "content"}))
    note = night.out / "_embed" / "sources.json"
    content = json.loads(note.read_text())
    for entry in content["sources"].values():
        del entry["ctime_ns"]
    note.write_text(json.dumps(content))
    assert not night.prepared().todo
    os.utime(night.folder / FLAT.name)
    assert len(night.prepared().todo) == 2


def test_racing_runs_agree(night: Night) -> None:
    """Runs that plan before, while and after another replaces the parts have the same plan, with and without notes."""
    edit(night, **EDIT)
    plans = [night.prepared().plan]
    lose(night)
    job = night.prepared()
    plans.append(job.plan)
    night.embed(job)
    plans.append(night.prepared().plan)
    lose(night)
    plans.append(night.prepared().plan)
    assert len({plan.id for plan in plans}) == 1


def test_killed_while_it_prunes(night: Night) -> None:
    """One of two old parts is gone, the other matches: the new ids stand, the old part is still to be set aside."""
    edit(night, **EDIT)
    job = night.prepared()
    (first,), (second,) = ([name for name in job.stale if f"-{row:010}-" in name] for row in (0, 20))
    held = [night.out / "data" / second, night.out / "_embed" / "stats" / f"{shard_id_of(second)}.json"]
    contents = [file.read_bytes() for file in held]
    night.embed(job)
    for file, content in zip(held, contents, strict=True):
        file.write_bytes(content)
    lose(night)
    again = night.prepared()
    assert (again.todo, again.stale) == ((), (second,))
    assert first not in again.layout.parts()


def test_a_part_that_another_run_made_of_the_former_content(night: Night, tmp_path: Path) -> None:
    """A run that began before the edit commits after it: who planned in between sees it, then or in the next night."""
    for name in night.prepared().layout.parts():
        set_aside(night.prepared().layout, name, Key(str(tmp_path)))
    early = night.prepared()
    edit(night, **EDIT)
    os.utime(night.folder / FLAT.name, ns=(1, 1))
    late = night.prepared()
    assert late.plan.id == early.plan.id
    assert json.loads(at(late.layout.sources).read_text())["sources"] == {}, "what it is cannot be known yet"
    edit(night)
    os.utime(night.folder / FLAT.name, ns=(1, early.todo[0].mtime_ns))
    night.embed(early)
    edit(night, **EDIT)
    os.utime(night.folder / FLAT.name, ns=(1, 1))
    seen = [of_other_content(late.layout, shard, late.config.columns) for shard in late.todo]
    assert seen == [True, False]
    assert len(night.prepared().todo) == 2, "the note made by the run in between was believed"


def test_through_the_command(embed_corpus: Command, tiny_model: Path, tmp_path: Path) -> None:
    """Noticed without --prune, too; with it only the edited chunk is embedded."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    FLAT.write(folder / FLAT.name, rows())
    line = ("run", folder, out, "--model", tiny_model, "--id-column", "id", "--keep-text", "--devices", "cpu")
    assert embed_corpus(*line).returncode == 0
    before = (folder / FLAT.name).stat()
    FLAT.write(folder / FLAT.name, rows(**EDIT))
    os.utime(folder / FLAT.name, ns=(before.st_atime_ns, before.st_mtime_ns))
    refused = embed_corpus(*line)
    assert (refused.returncode, "an input changed" in refused.stderr) == (2, True)
    done = embed_corpus(*line, "--prune", "--paranoid")
    assert (done.returncode, "taken over" in done.stdout) == (0, True), done.stderr
    table = pq.read_table(out / "data", columns=["doc_id", "text"]).to_pylist()
    assert {row["doc_id"]: row["text"] for row in table}["p003"] == EDIT["p003"]
