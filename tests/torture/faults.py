"""Faults of files: a run meets one, ends as documented, and the same line without it ends as an undisturbed run."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from torture.ground import Ground
from torture.herd import Fault
from torture.scenarios import FileFault


class FileFaults:
    """Lets one scenario after the other happen, each time at another call."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._calls: dict[tuple[str, str], int] = {}
        self.n_struck = 0

    def strike(self, scenario: FileFault, seed: int) -> int:
        """Run under the fault, then without it; return how the first ended."""
        ground = self.ground
        dice = random.Random(f"{scenario.name} {seed}")
        calls = self._count(scenario)
        assert calls, f"{scenario.name}: a run makes no such call"
        out = ground.new_out()
        fault = Fault(
            self._below(scenario, out),
            scenario.op,
            dice.randint(1, calls),
            scenario.error,
            scenario.lasting,
        )
        run = ground.herd.start(*ground.line(out), fault=fault)
        code = run.wait()
        what = f"{scenario.name}, call {fault.nth} of {calls}, exit code {code}"
        assert code in scenario.codes, f"{what}:\n{run.said}"
        assert "Traceback" not in run.said, f"{what}:\n{run.said}"
        assert code in {0, -9} or "error: " in run.said, f"{what}:\n{run.said}"
        assert not ground.differing(out), what
        try:
            ground.finish(out, verify=seed == 0)
        except AssertionError as error:
            raise AssertionError(f"after {what} ({run.calls[1]}): {error}\n{run.said}") from error
        ground.drop(out)
        self.n_struck += run.calls[0] >= fault.nth
        return code

    def _count(self, scenario: FileFault) -> int:
        """Return how many such calls an undisturbed run makes."""
        key = (scenario.op, scenario.below)
        if key not in self._calls:
            out = self.ground.new_out()
            dry = self.ground.herd.start(*self.ground.line(out), fault=Fault(self._below(scenario, out), scenario.op))
            assert dry.wait() == 0, dry.said
            self.ground.drop(out)
            self._calls[key] = dry.calls[0]
        return self._calls[key]

    def _below(self, scenario: FileFault, out: Path) -> Path:
        places = {"<corpus>": self.ground.corpus, "<model>": self.ground.model}
        return places.get(scenario.below) or out / scenario.below


def strike_all(ground: Ground, scenarios: tuple[FileFault, ...], seeds: int) -> list[str]:
    """Let every scenario happen so often; return lines for the table."""
    faults, lines = FileFaults(ground), []
    for scenario in scenarios:
        codes = Counter(faults.strike(scenario, seed) for seed in range(seeds))
        lines.append(f"  {scenario.name:45} exit code " + ", ".join(f"{c} ({n}x)" for c, n in sorted(codes.items())))
    return [f"{len(scenarios)} file faults x {seeds} seeds, {faults.n_struck} struck: 0 bad", *lines]
