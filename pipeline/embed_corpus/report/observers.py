"""Who is told of a run's events: the log, and a bar on a terminal; a page or metrics would be one more each."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from embed_corpus.report.events import Started, Stopped
from embed_corpus.report.log import Log
from embed_corpus.report.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from embed_corpus.report.events import Event
    from embed_corpus.report.summary import RunReport

__all__ = ["Observer", "default_observers", "telling"]


class Observer(Protocol):
    """Follows a run. It is called in the run's own thread, so it must be quick; what it raises ends the run.

    A run that has nothing to embed has no events; one that is interrupted, or ends by an error of its own, no report.
    """

    def on(self, event: Event) -> None:
        """Take note of an event, in the order in which they come; `Stopped` is the last in any case."""
        ...

    def done(self, report: RunReport) -> None:
        """Take note of what the whole run did, also where its `problems` say that it is not complete."""
        ...


def default_observers(stream: TextIO | None) -> tuple[Observer, ...]:
    """Return the observers of every run; `stream` is where a bar is drawn, if it is a terminal."""
    return (
        Log(),
        Progress(stream),
    )


@contextmanager
def telling(observers: Sequence[Observer], started: Started) -> Iterator[Callable[[Event], None]]:
    """Tell observers that the run has started, what is passed to the function given, and in any case its end."""

    def tell(event: Event) -> None:
        for observer in observers:
            observer.on(event)

    try:
        tell(started)
        yield tell
    finally:
        tell(Stopped())
