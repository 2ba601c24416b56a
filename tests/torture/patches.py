"""What the harness changes in a run, by name; nothing of it is in the product."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embed_corpus.engine.encoder import LocalEncoder
from kit.faulty import Bent, Crowded, break_down, lose_context


def impatient() -> None:
    """Take a worker for hung after three seconds."""
    from embed_corpus.execution import local

    local._HANG = 3.0


def hasty() -> None:
    """Take a claim that nobody has touched for a second for a dead run's."""
    from embed_corpus.execution import claims

    claims.STALE = 1.0


def slow_loader() -> None:
    """Let a loader process take its time over each block, so that it is at work when the first parts are there."""
    from embed_corpus.execution import loader as module

    loader: Any = module
    chunk = loader._chunk

    @functools.wraps(chunk)  # it is sent by its name
    def slowly(texts: Any) -> Any:
        time.sleep(0.2)
        return chunk(texts)

    loader._chunk = slowly


def unsynced() -> None:
    """Take the fsyncs out: the control that shows that a power cut would be seen."""
    from embed_corpus.store import commit

    module: Any = commit
    module._sync = lambda _: None


def careless() -> None:
    """Write a part under its final name at once: the control that shows that a kill would be seen."""
    from embed_corpus.sink.parts import PartWriter
    from embed_corpus.store import layout as layouts
    from embed_corpus.store.local import Folder

    parts: Any = PartWriter
    layout: Any = layouts.Layout
    folder: Any = Folder
    attempt, put_if_absent = layout.attempt, folder.put_if_absent

    @contextlib.contextmanager
    def in_place(self: Any, shard_id: str) -> Iterator[Path]:
        with attempt(self, shard_id) as aside:
            if shard_id not in names:  # a note of OUT
                yield aside
                return
            data = self.root / "data"
            data.mkdir(parents=True, exist_ok=True)
            yield data / names[shard_id]

    def there_already(self: Any, made: Path, key: Any, *, durable: bool = True) -> str:
        return "won" if made == self.local(key) else put_if_absent(self, made, key, durable=durable)

    names: dict[str, str] = {}
    begin = parts.__init__

    def init(writer: Any, shard: Any, *rest: Any) -> None:
        names[shard.id] = shard.part_name
        begin(writer, shard, *rest)

    parts.__init__ = init
    layout.attempt = in_place
    folder.put_if_absent = there_already


def _when_ready(change: Callable[[LocalEncoder], object]) -> None:
    """Change an encoder once its worker has tried it out."""
    from embed_corpus.engine import local as module

    local: Any = module
    get_ready = local.get_ready

    def changed(*args: Any, **options: Any) -> Any:
        outcome = get_ready(*args, **options)
        change(outcome.encoder)
        return outcome

    local.get_ready = changed


def short_of_memory() -> None:
    """Let the device run out of memory at some batches, as a GPU would."""
    _when_ready(lambda encoder: break_down(encoder, (2, 3, 7)))


def _lost_context(times: int, *, first_only: bool = False) -> None:
    """Let a device fail at a worker's second batch so often; each time for good in that process.

    With `first_only` it is the first device, and the others do not get on before.
    """
    marks = Path(os.environ.get("TORTURE_MARKS") or tempfile.mkdtemp())
    begun: Any = LocalEncoder
    submit = begun.submit
    batches = itertools.count(1)

    def failing(encoder: LocalEncoder, batch: Any) -> Any:
        second = next(batches) == 2
        place = encoder.runner.device.index if encoder.runner.device.type == "cuda" else min(os.sched_getaffinity(0))
        if first_only and place:
            while len(list(marks.iterdir())) < times:
                time.sleep(0.02)
        elif second and len(list(marks.iterdir())) < times:
            (marks / str(os.getpid())).touch()
            lose_context(encoder.runner.device)
        return submit(encoder, batch)

    _when_ready(lambda _: setattr(begun, "submit", failing))


def device_fails_once() -> None:
    """Lose the device's context once, as an Xid error does."""
    _lost_context(1)


def device_fails_twice() -> None:
    """Lose it twice."""
    _lost_context(2)


def first_device_fails_twice() -> None:
    """Lose the context of the first device twice, while the others wait: it will be retired."""
    _lost_context(2, first_only=True)


def crowded() -> None:
    """Let another program take the device's memory for a while."""

    def crowd(encoder: LocalEncoder) -> None:
        layers: Any = Crowded(encoder.forward, encoder.runner.device)
        encoder.forward = layers

    _when_ready(crowd)


def poison() -> None:
    """Let a worker die whenever it comes to the third shard, as a text can do that a library cannot bear."""
    from embed_corpus.execution import loader as module

    loader: Any = module.Loader
    here = loader._here

    def deadly(self: Any, chunker: Any, item: Any) -> Any:
        if item.shard.source == "02.jsonl":
            os.kill(os.getpid(), signal.SIGKILL)
        return here(self, chunker, item)

    loader._here = deadly


def no_numbers() -> None:
    """Let the model give NaN wherever a text begins."""

    def bend(encoder: LocalEncoder) -> None:
        bent: Any = Bent(encoder.forward, 2)
        encoder.forward = bent

    _when_ready(bend)


def _jumping_clock(seconds: float) -> None:
    """Let the clock of the day jump in the middle of a run."""
    begin, clock, clock_ns = time.monotonic(), time.time, time.time_ns

    def jump() -> float:
        return seconds if time.monotonic() - begin > 0.3 else 0.0

    time.time = lambda: clock() + jump()
    time.time_ns = lambda: clock_ns() + int(jump() * 1e9)


def clock_forward() -> None:
    """Jump a day ahead."""
    _jumping_clock(86_400.0)


def clock_back() -> None:
    """Jump a day back."""
    _jumping_clock(-86_400.0)
