"""Stages in threads of their own, a bounded weight of items ahead of the next stage.

What they do is long calls that let go of the interpreter: Arrow, the tokenizer's processes, the disk.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from threading import Condition, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

__all__ = ["ahead", "behind"]

T = TypeVar("T")


def ahead(items: Iterable[T], limit: int, weigh: Callable[[T], int] = lambda _: 1) -> Generator[T, None, None]:
    """Let a thread run an iterator ahead of its consumer; whatever it raises is raised here.

    It stops while items of `limit` weight in all wait; one item may weigh more. Closing the
    generator stops the thread and closes the iterator there.
    """
    line: _Line[T] = _Line(limit)

    def fill() -> None:
        try:
            line.fill((item, weigh(item)) for item in items)
        finally:
            if hasattr(items, "close"):
                items.close()

    thread = Thread(target=fill, name="ahead", daemon=True)
    thread.start()
    try:
        yield from line
    finally:
        line.stop()
        thread.join()


@contextmanager
def behind(
    consume: Callable[[T], None], limit: int, weigh: Callable[[T], int] = lambda _: 1
) -> Generator[Callable[[T], None], None, None]:
    """Let a thread consume what is put, in order; leaving the block waits until all is consumed.

    Putting waits while items of `limit` weight in all wait; one item may weigh more. What
    `consume` raises is raised by the next put, or on leaving; after it, or when the block is left by
    an exception, nothing more is consumed.
    """
    line: _Line[T] = _Line(limit)
    failed: list[BaseException] = []

    def drain() -> None:
        try:
            for item in line:
                consume(item)
        except BaseException as error:  # noqa: BLE001  # raised again in the putting thread
            failed.append(error)
            line.stop()

    def put(item: T) -> None:
        if not line.put(item, weigh(item)):
            raise failed[0]

    thread = Thread(target=drain, name="behind", daemon=True)
    thread.start()
    try:
        yield put
        line.end()
    except BaseException:
        line.stop()
        raise
    finally:
        thread.join()
    if failed:
        raise failed[0]


class _Line(Generic[T]):
    """A queue bounded by weight, which either end can shut."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[tuple[T, int]] = deque()
        self._weight = 0
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._change = Condition()

    def put(self, item: T, weight: int) -> bool:
        """Wait for room and append an item; False if the line was stopped."""
        with self._change:
            while self._items and self._weight + weight > self._limit and not self._stopped:
                self._change.wait()
            self._items.append((item, weight))
            self._weight += weight
            self._change.notify_all()
            return not self._stopped

    def fill(self, items: Iterable[tuple[T, int]]) -> None:
        """Append items until they end, fail, or the line is stopped."""
        try:
            for item, weight in items:
                if not self.put(item, weight):
                    return
        except BaseException as error:  # noqa: BLE001  # raised again at the other end
            self._error = error
        self.end()

    def end(self) -> None:
        """Say that nothing more comes."""
        with self._change:
            self._ended = True
            self._change.notify_all()

    def stop(self) -> None:
        """Drop what waits and let nobody wait any more."""
        with self._change:
            self._stopped = True
            self._items.clear()
            self._change.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._change:
                while not (self._items or self._ended or self._stopped):
                    self._change.wait()
                if self._stopped or not self._items:
                    break
                item, weight = self._items.popleft()
                self._weight -= weight
                self._change.notify_all()
            yield item
            del item  # not held while the next one is waited for
        if self._error is not None:
            raise self._error
