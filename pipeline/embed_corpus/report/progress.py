"""Progress of a run: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Self, TextIO

from embed_corpus.data import Counts

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Progress"]

log = logging.getLogger("embed_corpus")

_LINE_SECONDS = 10.0


class Progress:
    """Shows rows done, documents/s, tokens/s and the time left.

    With a terminal `stream` a tqdm bar is drawn on it; else a log line comes every 10 s.
    """

    def __init__(self, total: int, stream: TextIO | None) -> None:
        self._total = total
        self._stream = stream if stream is not None and stream.isatty() else None
        self._begin = self._last = time.perf_counter()
        self.counts = Counts()

    def __enter__(self) -> Self:
        self._begin = self._last = time.perf_counter()
        if self._stream:
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._total,
                file=self._stream,
                unit="doc",
                dynamic_ncols=True,
                smoothing=0.05,
                bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream:
            self._bar.close()

    def restart(self) -> None:
        """Begin to count the time: a worker is ready, what went before was loading."""
        if not self.counts.rows:
            self._begin = self._last = time.perf_counter()
            if self._stream:
                self._bar.reset(self._total)

    def add(self, counts: Counts) -> None:
        """Count rows that are embedded."""
        self.counts += counts
        now = time.perf_counter()
        rate = self.counts.tokens / max(now - self._begin, 1e-9)
        if self._stream:
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
