"""A run's whole group is killed before each single call on OUT; the same line then ends as if undisturbed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torture.ground import Ground
from torture.herd import KILL_GROUP, Fault


def count_steps(ground: Ground) -> int:
    """Return how many calls that change something an undisturbed run makes on OUT."""
    out = ground.new_out()
    dry = ground.herd.start(*ground.line(out), fault=Fault(out))
    assert dry.wait() == 0, dry.said
    ground.drop(out)
    calls: int = dry.calls[0]
    return calls


def kill_at_steps(ground: Ground, steps: Iterable[int]) -> list[str]:
    """Kill before each of these calls, counted from 1, and return lines for the table."""
    ops: Counter[str] = Counter()
    for step in steps:
        out = ground.new_out()
        run = ground.herd.start(*ground.line(out), fault=Fault(out, "*", step, KILL_GROUP))
        assert run.wait() in {-9, 0}, run.said
        if run.code == -9:
            ops[run.calls[1].partition(" ")[0]] += 1
        assert not ground.differing(out), f"killed before call {step}, {run.calls[1]}"
        try:
            ground.finish(out, verify=False)
        except AssertionError as error:
            raise AssertionError(f"killed before call {step}, {run.calls[1]}: {error}") from error
        ground.drop(out)
    kinds = ", ".join(f"{op} {count}" for op, count in ops.most_common())
    return [f"{ops.total()} runs, each killed before another call on OUT ({kinds}): 0 bad"]
