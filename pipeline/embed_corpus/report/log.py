"""What a run has to say in words while it goes on, as lines of the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from embed_corpus.report.events import Event, Failed, Ready
from embed_corpus.report.summary import unknown_line

if TYPE_CHECKING:
    from embed_corpus.report.summary import RunReport

__all__ = ["Log"]

log = logging.getLogger("embed_corpus")


class Log:
    """Logs what workers note of their devices, each note once, the shards that failed, and a report with problems."""

    def __init__(self) -> None:
        self._notes: set[str] = set()

    def on(self, event: Event) -> None:
        """Log notes and failures."""
        match event:
            case Ready(notes=notes):
                for note in notes:
                    if note not in self._notes:
                        log.warning("%s", note)
                self._notes.update(notes)
            case Failed(reason=reason):
                log.error("%s", reason)

    def done(self, report: RunReport) -> None:
        """Warn of unknown texts; log the closing lines where an error follows, else they are the caller's."""
        if report.fresh.unknown:
            log.warning("%s", unknown_line(report.total))
        if report.problems:
            log.info("%s", "\n".join(report.lines()))
