"""What starts workers and hands them shards: local processes today, in a table that a cluster would join."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from embed_corpus.execution.local import run_workers

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from embed_corpus.execution.claims import Queue
    from embed_corpus.execution.messages import WorkerSpec
    from embed_corpus.execution.signals import Stop
    from embed_corpus.report.events import Event

__all__ = ["EXECUTORS", "Executor"]


class Executor(Protocol):
    """Carries out what is in a queue of shards.

    A call embeds the queue's shards on one worker per spec, each of which takes the next shard when it is free, and
    yields the workers' events as they come. Asked to `stop`, it hands out no more, waits for the shards under way that
    will be committed within `grace` seconds, and leaves no worker behind, whatever ends it.

    Raises:
        EmbedCorpusError: a worker reported an error, or the last one died.
    """

    def __call__(
        self, specs: Sequence[WorkerSpec], queue: Queue, stop: Stop, grace: float
    ) -> Generator[Event, None, None]:
        """Do it."""


EXECUTORS: dict[str, Executor] = {"local": run_workers}
"""By name: processes of this machine."""
