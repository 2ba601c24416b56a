"""Two runs race on one OUT; again and again the whole group of one is killed, at moments all over a run's life."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torture.ground import Ground, inodes, left_over, parts
from torture.herd import KILL_GROUP, Fault, Run

STAGES = (
    "before it touches OUT",
    "preparing: job, plan, notes, then loading",
    "writing a part aside",
    "rejects of a part",
    "note beside a part",
    "linking a part, syncing data/",
    "between two parts, embedding the next",
    "snapshot and report",
)


@dataclass
class Kills:
    """What was done and seen: kills by the stage they fell into, and by the share of parts that stood then."""

    stages: Counter[str] = field(default_factory=Counter)
    quarters: Counter[int] = field(default_factory=Counter)
    rounds: int = 0
    differing: set[str] = field(default_factory=set)
    left_aside: int = 0

    @property
    def total(self) -> int:
        """All kills."""
        return self.stages.total()

    def rows(self) -> list[str]:
        """Return lines for the table."""
        done = ", ".join(f"{self.quarters[q]} at {25 * q}-{25 * q + 25} %" for q in range(4))
        return [
            f"{self.total} group kills over two racing runs, {self.rounds} results: 0 lost, doubled or differing",
            f"  parts there at a kill: {done}; attempts left after the races and swept: {self.left_aside}",
            *(f"  {self.stages[stage]:4} killed {stage}" for stage in STAGES),
        ]


def stage_of(last: str, shard_ids: set[str]) -> str:
    """Name the stage of a run by the last call that it made on OUT."""
    if not last:
        return STAGES[0]
    op, _, path = last.partition(" ")
    if path.startswith("/data/") or (path == "/data" and op == "fsync"):
        return STAGES[5]
    name = path.rsplit("/", 1)[1]
    subject = name.split(".")[0]
    if subject in shard_ids:
        kinds = {".jsonl.zst": 3, ".json": 4}
        of_part = next((i for kind, i in kinds.items() if kind in name), 6 if op == "unlink" else 2)
        return STAGES[of_part]
    if path.endswith("/rejects"):
        return STAGES[3]
    late = "/snapshots" in path or "/runs" in path or (subject[:6].isdigit() and (len(subject) == 6 or "T" in subject))
    return STAGES[7] if late else STAGES[1]


def race(ground: Ground, kills: int, seed: int, patches: Sequence[str] = ()) -> Kills:
    """Kill so often, over as many results as that takes, and check each result when it is complete."""
    dice, seen = random.Random(seed), Kills()
    span = _life_of_two(ground)
    while seen.total < kills:
        out = ground.new_out()
        _one_result(ground, out, kills, span, dice, seen, patches)
        seen.left_aside += len(left_over(out))
        ground.finish(out)
        ground.drop(out)
        seen.rounds += 1
    return seen


def _life_of_two(ground: Ground) -> float:
    """Return the seconds that each of two racing runs takes when nobody kills."""
    out = ground.new_out()
    runs = [ground.herd.start(*ground.line(out)) for _ in range(2)]
    for run in runs:
        assert run.wait() == 0, run.said
    ground.same(out)
    return time.monotonic() - runs[0].begin


def _one_result(
    ground: Ground, out: Path, kills: int, span: float, dice: random.Random, seen: Kills, patches: Sequence[str]
) -> None:
    """Race until one run comes to its end or enough are killed; each has a moment to die, drawn when it starts."""

    def start() -> tuple[Run, float]:
        run = ground.herd.start(*ground.line(out), fault=Fault(out), patches=patches)
        return run, run.begin + dice.uniform(0.0, span)

    runs = [start(), start()]
    stood: dict[str, tuple[int, int]] = {}
    while seen.total < kills:
        runs.sort(key=lambda pair: pair[1])
        run, moment = runs[0]
        while time.monotonic() < moment and run.code is None:
            time.sleep(0.002)
        if run.code is not None:
            assert run.wait() == 0, run.said
            break
        n_before = len(parts(out))
        run.kill()
        if run.code == 0:  # it was faster
            break
        seen.stages[stage_of(run.calls[1], _ids(ground))] += 1
        seen.quarters[min(3, 4 * n_before // len(ground.clean))] += 1
        seen.differing |= set(ground.differing(out))
        assert not seen.differing, f"after a kill visible, but not whole: {seen.differing}"
        now = inodes(out)
        assert stood.items() <= now.items(), "a part that stood was taken away or written again"
        stood = now
        runs[0] = start()
    for run, _ in runs:
        run.kill() if dice.random() < 0.5 else run.wait()
        assert run.code in {0, -9}, run.said
    assert stood.items() <= inodes(out).items(), "a part that stood was taken away or written again"


def careless_writer_is_found(ground: Ground) -> bool:
    """Kill a run that writes under final names at once, and tell whether that was seen: the harness must bite."""
    out = ground.new_out()
    fault = Fault(out / "data", "write", 2, KILL_GROUP)
    run = ground.herd.start(*ground.line(out), fault=fault, patches=["careless"])
    run.wait()
    found = ground.differing(out)
    ground.drop(out)
    return bool(found)


def _ids(ground: Ground) -> set[str]:
    return {name.removesuffix(".parquet").rsplit("-", 1)[1] for name in ground.clean}
