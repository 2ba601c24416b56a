"""What a run does when it is asked to stop: SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 (Slurm's warning).

A handler only notes the signal and wakes the parent's loop, which decides. Workers and loaders
ignore all three, because they often reach the whole process group (a terminal, `scancel --full`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["SIGNALS", "Stop", "blocked", "heeded", "ignore"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

_ONE = 0.2
"""Seconds within which signals count as one: `timeout` and Slurm signal a process, and then its group."""


class Stop:
    """Whether this run was asked to stop, for a loop that waits on connections: it has a `fileno` to wait on.

    Attributes:
        count: times it was asked; more than once means at once.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last = -_ONE
        self._reader, self._writer = os.pipe()
        for end in (self._reader, self._writer):
            os.set_blocking(end, False)

    def ask(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Note that the run shall stop; a signal handler, so it does nothing else."""
        now = time.monotonic()
        if now - self._last >= _ONE:
            self.count += 1
        self._last = now
        with contextlib.suppress(OSError):  # a full pipe wakes as well
            os.write(self._writer, b"\0")

    def fileno(self) -> int:
        """Return what becomes readable when a signal comes."""
        return self._reader

    def heard(self) -> None:
        """Take the wake-up call back, so that the next wait waits."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._reader, 4096)

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._reader)
        os.close(self._writer)


@contextlib.contextmanager
def heeded() -> Iterator[Stop]:
    """Let signals ask for a stop until the block is left; then they do what they did before.

    Outside the main thread Python allows no handlers: there nothing ever asks. A signal that is
    ignored stays so, as a shell wants it for SIGINT and what runs in its background.
    """
    stop = Stop()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    changed = []
    try:
        with contextlib.suppress(ValueError):
            for number in SIGNALS:
                if before[number] is not signal.SIG_IGN:
                    signal.signal(number, stop.ask)
                    changed.append(number)
        yield stop
    finally:
        for number in changed:
            signal.signal(number, before[number] or signal.SIG_DFL)
        stop.close()


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Hold signals back while a process is started, which so begins its life unharmed by them.

    Python's resource tracker, which starts with the first process, ignores SIGINT and SIGTERM but
    not SIGUSR1: it keeps that blocked for good, else one to the whole group would end it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        resource_tracker.ensure_running()  # first, because it unblocks SIGINT and SIGTERM
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """Let this process ignore the signals, and whatever it starts too: its parent decides."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
