"""Progress of a run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TextIO

from embed_corpus.data import Counts
from embed_corpus.report.events import Elsewhere, Embedded, Event, Lost, Ready, Started, Stopped

if TYPE_CHECKING:
    from embed_corpus.report.summary import RunReport

__all__ = ["Progress"]

log = logging.getLogger("embed_corpus")

_LINE_SECONDS = 10.0


class Progress:
    """Shows rows done, documents/s, tokens/s and the time left.

    With a terminal `stream` a tqdm bar is drawn on it; else a log line comes every 10 s.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream if stream is not None and stream.isatty() else None
        self._bar: Any = None
        self._total = 0
        self._begin = self._last = time.perf_counter()
        self.counts = Counts()

    def on(self, event: Event) -> None:
        """Count rows that are embedded, or embedded elsewhere; time counts from when a worker is ready."""
        match event:
            case Started(rows=rows):
                self._start(rows)
            case Ready():
                self._restart()
            case Embedded(counts) | Lost(counts):
                self._add(counts)
            case Elsewhere(shard):
                self._add(Counts(rows=shard.n_rows))
            case Stopped():
                if self._bar is not None:
                    self._bar.close()

    def done(self, report: RunReport) -> None:
        """Show nothing more: the closing lines are the caller's."""

    def _start(self, total: int) -> None:
        self._total = total
        self._begin = self._last = time.perf_counter()
        if self._stream:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                file=self._stream,
                unit="doc",
                dynamic_ncols=True,
                smoothing=0.05,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
            )

    def _restart(self) -> None:
        """Begin to count the time: a worker is ready, what went before was loading."""
        if not self.counts.rows:
            self._begin = self._last = time.perf_counter()
            if self._bar is not None:
                self._bar.reset(self._total)

    def _add(self, counts: Counts) -> None:
        self.counts += counts
        now = time.perf_counter()
        rate = self.counts.tokens / max(now - self._begin, 1e-9)
        if self._bar is not None:
            self._bar.set_postfix_str(f"{rate:,.0f} tokens/s", refresh=False)
            self._bar.update(counts.rows)
        elif now - self._last >= _LINE_SECONDS:
            self._last = now
            rows = self.counts.rows
            left = (self._total - rows) * (now - self._begin) / max(rows, 1)
            log.info(
                "%s of %s rows (%.0f %%), %.1f documents/s, %s tokens/s, about %.0f s left",
                f"{rows:,}",
                f"{self._total:,}",
                100 * rows / max(self._total, 1),
                self.counts.documents / max(now - self._begin, 1e-9),
                f"{rate:,.0f}",
                left,
            )
