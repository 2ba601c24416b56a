"""All of the torture, as `make torture` runs it. Ends with a table, and with 1 if anything broke."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from torture import faults, kills, power, scenarios, steps, trouble, zombies
from torture.ground import Ground, make_model, prepare_ground
from torture.herd import Herd

Section = Callable[[Ground], list[str]]


def sections(options: argparse.Namespace) -> dict[str, tuple[int, Section]]:
    """Return what is done: by name, how many shards it stands on and what to call."""

    def killed(ground: Ground) -> list[str]:
        found = kills.careless_writer_is_found(ground)
        assert found, "a run that writes under final names at once was not found"
        return [
            *kills.race(ground, options.kills, options.seed).rows(),
            "  control, final names written at once: found",
        ]

    def woken(ground: Ground) -> list[str]:
        return [*zombies.wake(ground, options.zombies, options.seed), zombies.stop_sweeper(ground)]

    def stepped(ground: Ground) -> list[str]:
        return steps.kill_at_steps(ground, range(1, steps.count_steps(ground) + 1))

    return {
        "kills": (24, killed),
        "zombies": (8, woken),
        "power": (16, lambda ground: power.cut_all(ground, options.cuts)),
        "troubles": (4, lambda ground: trouble.meet_all(ground, options.seeds)),
        "faults": (4, lambda ground: faults.strike_all(ground, scenarios.FILE_FAULTS, options.seeds)),
        "steps": (2, stepped),
    }


def main() -> int:
    """Do it all, and say what was seen."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    for name, default in (("kills", 300), ("zombies", 20), ("cuts", 60), ("seeds", 5), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("only", nargs="*", help="sections to do; all if none is named")
    options = parser.parse_args()
    chosen = {name: what for name, what in sections(options).items() if not options.only or name in options.only}
    table: list[str] = []
    broken = False
    with tempfile.TemporaryDirectory(prefix="torture-") as folder, Herd() as herd:
        model = make_model(Path(folder) / "model")
        for name, (shards, section) in chosen.items():
            begin = time.monotonic()
            try:
                lines = section(prepare_ground(herd, Path(folder) / name, model, shards))
            except AssertionError as error:
                broken, lines = True, [f"BROKEN: {name}: {error}"]
            lines[0] = f"{lines[0]}  [{time.monotonic() - begin:.0f} s]"
            sys.stderr.write("\n".join(lines) + "\n")
            table += lines
    sys.stdout.write("\n" + "\n".join(table) + "\n")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
