"""Claims: several runs that share one OUT do not do the same shard at the same time.

Advice only, never needed for a right result: which part counts is decided by its commit. A claim
is a file named by the shard, made if it is not there, and touched while its run lives.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import uuid
from collections import deque
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Self

from embed_corpus.errors import OutputError
from embed_corpus.store.commit import attempt, sweep

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from embed_corpus.data import Shard
    from embed_corpus.execution.signals import Stop
    from embed_corpus.store.base import Key
    from embed_corpus.store.layout import Layout

__all__ = ["STALE", "Claims", "Queue"]

log = logging.getLogger("embed_corpus")

STALE = 60.0
"""Seconds without a touch after which a claim counts for nothing."""
_POLL = 1.0
"""Seconds between looks at the claims of others."""


class Claims:
    """The claims of one run on one OUT; a thread touches them until `close`.

    Where claiming fails (no access, no room, a file system of its own mind) the run goes on without.
    """

    def __init__(self, layout: Layout) -> None:
        self._store, self._folder = layout.store, layout.claims
        self._new = self._store.local(layout.claims / "new")
        self._run = uuid.uuid4().hex
        self._clock = self._folder / f"run-{self._run}"
        self._me = json.dumps(
            {"host": socket.gethostname(), "pid": os.getpid(), "place": _place(), "run": self._run}
        ).encode()
        self._held: set[str] = set()
        self._lock, self._ended = Lock(), Event()
        self._broken = False
        sweep(self._new)
        self._thread = Thread(target=self._touch, name="claims", daemon=True)
        self._thread.start()

    def take(self, name: str) -> bool:
        """Claim a shard; False if another run that seems to live holds it."""
        if name in self._held or self._broken:
            return True
        try:
            if not self._make(name):
                if self._lives(self._folder / name):
                    return False
                self._store.delete(self._folder / name)
                if not self._make(name):  # another run was faster to find it stale
                    return False
        except (OSError, OutputError) as error:
            self._broken = True
            why = error.__cause__ or error
            log.warning("%s: no claims (%s): runs that share this OUT may do work twice", self._folder, why)
            return True
        with self._lock:
            self._held.add(name)
        return True

    def release(self, name: str) -> None:
        """Take a claim back, if it is (still) ours."""
        with self._lock:
            if name not in self._held:
                return
            self._held.remove(name)
        claim = self._folder / name
        with suppress(OSError):
            with self._store.open(claim) as file:
                content = file.read()
            if content == self._me:  # else this run stood still, and another took over
                self._store.delete(claim)

    def close(self) -> None:
        """Take all claims back."""
        self._ended.set()
        self._thread.join()
        for name in tuple(self._held):
            self.release(name)
        with suppress(OSError):
            self._store.delete(self._clock)

    def _make(self, name: str) -> bool:
        """Make a claim, whole at once: of one that does not tell whose it is nobody could say that they are gone."""
        with attempt(self._new, name) as made:
            made.write_bytes(self._me)
            return self._store.put_if_absent(made, self._folder / name, durable=False) == "won"

    def _lives(self, claim: Key) -> bool:
        """Tell whether a claim was touched lately, and not by a process that is known to be gone."""
        try:
            with self._store.open(claim) as file:  # opened first, because NFS asks its server then
                content, stat = file.read(4096), self._store.stat(claim)
        except FileNotFoundError:
            return False
        if stat is None or _gone(content):
            return False
        return (self._now() - stat.changed_ns) / 1e9 < STALE

    def _now(self) -> int:
        """Ask the store for the time, in nanoseconds: clocks of two machines may differ by more than a claim's life."""
        try:
            self._store.touch(self._clock)
        except FileNotFoundError:  # asked for the first time
            with attempt(self._new, self._clock.name) as made:
                self._store.put(made, self._clock, durable=False)
        stat = self._store.stat(self._clock)
        if stat is None:
            raise FileNotFoundError(f"{self._clock} is gone")
        return stat.changed_ns

    def _touch(self) -> None:
        while not self._ended.wait(STALE / 4):
            with self._lock:
                held = tuple(self._held)
            for name in held:
                with suppress(OSError):
                    self._store.touch(self._folder / name)


def _place() -> str:
    """Name what a process number belongs to: this start of this kernel, and the namespace of a container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _gone(claim: bytes) -> bool:
    """Tell whether a claim's process is known to be dead, as after `kill -9` here: nobody need wait for it."""
    try:
        content = json.loads(claim)
        place, pid = str(content["place"]), int(content["pid"])
    except (ValueError, KeyError, TypeError):
        return False  # another version's, or made where there are no hard links and not yet whole
    return bool(place) and place == _place() and not Path(f"/proc/{pid}").exists()


class Queue:
    """The shards that are left, handed out one by one: none that another run works on, or has done.

    Attributes:
        elsewhere: shards that turned out to be done by another run.
    """

    def __init__(self, shards: Iterable[Shard], layout: Layout) -> None:
        self.elsewhere: list[Shard] = []
        self._todo = deque(shards)
        self._layout = layout
        self._claims = Claims(layout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._claims.close()

    def __len__(self) -> int:
        return len(self._todo)

    def take(self) -> Shard | None:
        """Claim the next shard; None if none is left, or others hold all that are."""
        for _ in range(len(self._todo)):
            shard = self._todo.popleft()
            if not self._claims.take(shard.id):
                self._todo.append(shard)
            elif self._has_part(shard):  # looked at under the claim: none commits it now
                self._claims.release(shard.id)
                self.elsewhere.append(shard)
            else:
                return shard
        return None

    def _has_part(self, shard: Shard) -> bool:
        return self._layout.store.stat(self._layout.data / shard.part_name) is not None

    def give_back(self, shards: Iterable[Shard]) -> None:
        """Put shards back to the front that came to nothing; their claims stay."""
        self._todo.extendleft(reversed(list(shards)))

    def done(self, shard: Shard) -> None:
        """Take the claim of a finished shard back."""
        self._claims.release(shard.id)

    def wait(self, stop: Stop) -> bool:
        """Wait while others hold all that is left; True if there is something to do, False if not or at a stop."""
        from multiprocessing.connection import wait

        told = False
        while not stop.count:
            if (shard := self.take()) is not None:
                self.give_back([shard])
                return True
            if not self._todo:
                return False
            if not told:
                log.info("waiting for %d shards that another run works on", len(self._todo))
                told = True
            wait([stop], _POLL)  # type: ignore[list-item]  # it has a fileno, which is enough
        return False
