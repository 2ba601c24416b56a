"""A run is stopped in mid-work, another finishes, the first wakes up: nothing in data/ may change."""

from __future__ import annotations

import random
import signal

from torture.ground import Ground, inodes, left_over, until
from torture.herd import KILL_GROUP, STOP_GROUP, Fault


def wake(ground: Ground, times: int, seed: int) -> list[str]:
    """Stop a run before a call drawn at random from all that it makes on OUT; return lines for the table."""
    dice = random.Random(seed)
    counted = ground.new_out()
    dry = ground.herd.start(*ground.line(counted), fault=Fault(counted))
    assert dry.wait() == 0, dry.said
    at: list[int] = sorted(dice.sample(range(1, dry.calls[0]), times))
    for nth in at:
        stop_at(ground, nth)
    return [f"{times} runs stopped before call {at[0]} to {at[-1]} of {dry.calls[0]}, overtaken and woken: 0 changes"]


def stop_at(ground: Ground, nth: int) -> None:
    """Stop a run before its Nth call on OUT, let another come to the end, and wake it."""
    out = ground.new_out()
    zombie = ground.herd.start(*ground.line(out), fault=Fault(out, "*", nth, STOP_GROUP))
    until(lambda: zombie.calls[0] >= nth, zombie)
    other = ground.herd.start(*ground.line(out), patches=("hasty",))  # else it waits a minute for what is claimed
    assert other.wait() == 0, other.said
    before = inodes(out)
    assert len(before) == len(ground.clean)
    zombie.signal(signal.SIGCONT)
    assert zombie.wait() == 0, f"stopped before call {nth}:\n{zombie.said}"
    assert inodes(out) == before, "a woken run touched data/"
    ground.finish(out, verify=False)
    ground.drop(out)


def stop_sweeper(ground: Ground) -> str:
    """Stop a run while it sweeps what a killed one left: another must not wait for it. Return a line for the table."""
    out = ground.new_out()
    killed = ground.herd.start(*ground.line(out), fault=Fault(out / "data", "link", 1, KILL_GROUP))
    assert killed.wait() == -9, killed.said
    assert left_over(out)
    sweeper = ground.herd.start(*ground.line(out), fault=Fault(out / "_embed" / "tmp", "unlink", 1, STOP_GROUP))
    until(lambda: sweeper.calls[0] >= 1, sweeper)
    other = ground.herd.start(*ground.line(out), patches=("hasty",))  # else it waits a minute for what is claimed
    try:
        assert other.wait(limit=20.0) == 0, other.said
    finally:
        sweeper.signal(signal.SIGCONT)
    assert sweeper.wait() == 0, sweeper.said
    ground.finish(out)
    ground.drop(out)
    return "1 run stopped while it swept: another did not wait for it"
