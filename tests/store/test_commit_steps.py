"""Stopped at any step of a commit, a part is whole or absent."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from embed_corpus.data import Reason, Reject
from embed_corpus.errors import OutputError
from embed_corpus.sink import parts
from embed_corpus.sink.rejects import publish_rejects, read_rejects
from embed_corpus.store.layout import Layout
from kit.part_blocks import (
    BAD,
    Killed,
    block_of,
    failing,
    left_in,
    recorded,
    shard_of,
    six_rows,
    the_part,
    write,
)
from kit.places import at

STEPS = {"fsync": 4, "link": 2, "replace_json": 1}


def _break_step(monkeypatch: pytest.MonkeyPatch, step: str, at: int, error: BaseException) -> None:
    where = parts if step == "replace_json" else os
    monkeypatch.setattr(where, step, failing(error, at, getattr(where, step)))


def test_steps_of_a_commit(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps that the next test breaks are all there are: first the rejects, then the part."""
    events = recorded(monkeypatch)
    monkeypatch.setattr(parts, "replace_json", lambda *_: events.append("replace_json"))
    write(layout, six_rows())
    assert [event.split(" ")[0] for event in events] == [
        *["fsync", "link", "fsync"],
        "replace_json",
        *["fsync", "link", "fsync"],
    ]
    assert {step: sum(e.startswith(step) for e in events) for step in STEPS} == STEPS


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), Killed()])
@pytest.mark.parametrize("step", [(name, at) for name, n in STEPS.items() for at in range(1, n + 1)], ids=str)
def test_stopped_at_a_commit_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[str, int], error: BaseException
) -> None:
    """Wherever a commit stops, data/ has no part or the whole one, and a second attempt gives the same bytes."""
    layout, whole = Layout(tmp_path / "out"), Layout(tmp_path / "whole")
    write(whole, six_rows())
    with monkeypatch.context() as patch:
        _break_step(patch, *step, error)
        with pytest.raises((OutputError, Killed)):
            write(layout, six_rows())
    visible = [path.read_bytes() for path in map(at(layout.data).joinpath, left_in(at(layout.data)))]
    assert visible == ([the_part(whole).read_bytes()] if step == ("fsync", 4) else [])
    assert left_in(at(layout.tmp)) == []
    stats = write(layout, six_rows())
    assert the_part(layout).read_bytes() == the_part(whole).read_bytes()
    assert stats["sha256"] == sha256(the_part(whole).read_bytes()).hexdigest()
    assert read_rejects(layout, "5ha4d") == [BAD.to_json()]


@pytest.mark.parametrize("now", [(), (BAD,)])
def test_record_of_an_attempt_that_came_to_nothing(layout: Layout, now: tuple[Reject, ...]) -> None:
    """A record of rejects whose part never came is no hindrance: the part's own is there in the end, or none."""
    before = [BAD, replace(BAD, row=7, reason=Reason.NO_TOKENS)]
    publish_rejects(layout, "5ha4d", before)
    write(layout, block_of(shard_of(6 + len(now)), 0, 6, rejects=now))
    assert [record["row"] for record in read_rejects(layout, "5ha4d")] == [reject.row for reject in now]
