"""Those who are told of a run's events."""

from __future__ import annotations

import io
import logging
from contextlib import nullcontext
from pathlib import Path

import pytest

from embed_corpus.data import Counts, Shard
from embed_corpus.report.events import Committed, Elsewhere, Embedded, Event, Failed, Lost, Ready, Started, Stopped
from embed_corpus.report.log import Log
from embed_corpus.report.observers import default_observers, telling
from embed_corpus.report.progress import Progress
from embed_corpus.report.summary import RunReport

SHARD = Shard("5ha4d", "a.jsonl", 0, 5)
TEN = Counts(rows=10, documents=9, tokens=70, rejects={"empty": 1})


class Noted:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Event | RunReport] = []

    def on(self, event: Event) -> None:
        self.told.append(event)

    def done(self, report: RunReport) -> None:
        self.told.append(report)


class Terminal(io.StringIO):
    """A stream that a bar is drawn on."""

    def isatty(self) -> bool:
        return True


def report(**more: object) -> RunReport:
    """What a run did, in short."""
    return RunReport(Path("out"), TEN, TEN, 1, 1, 1, 1.0, (), {}, **more)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_the_end_is_told_in_any_case(error: BaseException | None) -> None:
    """Every observer is told of the start, of each event in order, and of the end, however it came."""
    one, other = Noted(), Noted()
    expected = pytest.raises(KeyboardInterrupt) if error else nullcontext()
    with expected, telling((one, other), Started(2, 20)) as tell:
        tell(Embedded(TEN))
        if error:
            raise error
    assert one.told == other.told == [Started(2, 20), Embedded(TEN), Stopped()]


def test_a_bar_counts_rows(caplog: pytest.LogCaptureFixture) -> None:
    """On a terminal a bar shows the rows of this run and of others, less the lost ones, and no line is logged."""
    stream = Terminal()
    bar = Progress(stream)
    for event in (Started(2, 20), Ready({}, 1, ()), Embedded(TEN), Lost(-TEN), Embedded(TEN), Elsewhere(SHARD)):
        bar.on(event)
    assert (bar.counts.rows, bar.counts.tokens) == (15, 70)
    bar.on(Stopped())
    assert "15/20" in stream.getvalue()
    assert caplog.messages == []


def test_lines_where_there_is_no_terminal(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal a line now and then says how far the run is."""
    monkeypatch.setattr("embed_corpus.report.progress._LINE_SECONDS", 0.0)
    lines = Progress(io.StringIO())
    with caplog.at_level(logging.INFO, "embed_corpus"):
        for event in (Started(2, 20), Ready({}, 1, ()), Embedded(TEN), Stopped()):
            lines.on(event)
    (line,) = caplog.messages
    assert line.startswith("10 of 20 rows (50 %), ")


def test_the_log_tells_notes_once_and_failures_each(caplog: pytest.LogCaptureFixture) -> None:
    """A note that several workers have is logged once, as a warning; each failed shard as an error."""
    told = Log()
    for event in (Ready({}, 1, ("odd",)), Ready({}, 1, ("odd", "old")), Failed(SHARD, "gone"), Committed(SHARD, {})):
        told.on(event)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "odd"),
        ("WARNING", "old"),
        ("ERROR", "gone"),
    ]


@pytest.mark.parametrize("problems", [(), ("something",)])
def test_closing_lines_of_a_run_with_problems(caplog: pytest.LogCaptureFixture, problems: tuple[str, ...]) -> None:
    """They are logged where an error follows; else whoever called the run has them."""
    with caplog.at_level(logging.INFO, "embed_corpus"):
        for one in default_observers(None):
            one.done(report(problems=problems))
    assert ("1 rejects (empty 1)" in caplog.text) == bool(problems)
