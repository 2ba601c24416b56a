"""Stages in threads: order, bounds, errors, and ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from embed_corpus.feed.threads import ahead, behind


def wait_until_still(counter: list[int]) -> int:
    """The length of a list once it has not grown for a while."""
    seen = -1
    while len(counter) != seen:
        seen = len(counter)
        time.sleep(0.1)
    return seen


def numbers(made: list[int], n: int = 1000) -> Iterator[int]:
    for i in range(n):
        made.append(i)
        yield i


def threads() -> int:
    return sum(t.name in ("ahead", "behind") for t in threading.enumerate())


def test_ahead_keeps_order_and_gives_all() -> None:
    """Everything comes out once, in order."""
    assert list(ahead(numbers([]), 7)) == list(range(1000))
    assert threads() == 0


def test_ahead_stops_at_its_limit() -> None:
    """No more weight waits than allowed; an item that weighs more comes alone."""
    made: list[int] = []
    items = ahead(numbers(made), 10, lambda _: 3)
    assert next(items) == 0
    assert wait_until_still(made) == 1 + 3 + 1  # taken, waiting, and one that waits for room
    items.close()
    made = []
    items = ahead(numbers(made), 10, lambda _: 99)
    assert next(items) == 0
    assert wait_until_still(made) == 1 + 1 + 1
    assert next(items) == 1
    items.close()
    assert threads() == 0


def test_ahead_raises_what_the_iterator_raises_in_its_place() -> None:
    """What came before an error comes out, then the error."""

    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("here")

    items = ahead(failing(), 5)
    assert next(items) == 1
    with pytest.raises(ValueError, match="here"):
        next(items)
    assert threads() == 0


def test_closing_ahead_closes_the_iterator() -> None:
    """An iterator that is not used up is closed, in its thread, before close returns."""
    closed: list[str] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    items = ahead(endless(), 5)
    next(items)
    items.close()
    assert closed == ["ahead"]


def test_behind_consumes_all_in_order_before_it_is_left() -> None:
    """Leaving the block waits for the last item."""
    seen: list[int] = []
    with behind(lambda i: (time.sleep(0.001), seen.append(i))[0], 5) as put:
        for i in range(100):
            put(i)
    assert seen == list(range(100))
    assert threads() == 0


def test_behind_holds_the_putter_back() -> None:
    """A put waits while too much waits."""
    gate, put_so_far = threading.Event(), list[int]()

    def putter() -> None:
        with behind(lambda _: gate.wait(), 4) as put:
            for i in range(50):
                put(i)
                put_so_far.append(i)

    thread = threading.Thread(target=putter)
    thread.start()
    assert wait_until_still(put_so_far) == 5  # one with the consumer, four waiting
    gate.set()
    thread.join()
    assert len(put_so_far) == 50


@pytest.mark.parametrize("n", [1, 50])
def test_behind_raises_what_the_consumer_raises(n: int) -> None:
    """An error of the consumer comes up at a put or at the end, and nothing is consumed after it."""
    seen: list[int] = []

    def consume(i: int) -> None:
        seen.append(i)
        raise OSError("disk full")

    def putter() -> None:
        with behind(consume, 2) as put:
            for i in range(n):
                put(i)

    with pytest.raises(OSError, match="disk full"):
        putter()
    assert seen == [0]
    assert threads() == 0


def test_behind_drops_what_waits_when_the_block_fails() -> None:
    """An exception in the block is not held up by what was put: that is never consumed."""
    seen: list[int] = []

    def consume(i: int) -> None:
        seen.append(i)
        time.sleep(0.2)

    def failing() -> None:
        with behind(consume, 10) as put:
            for i in range(5):
                put(i)
            while not seen:
                time.sleep(0.001)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        failing()
    assert seen == [0]
    assert threads() == 0
