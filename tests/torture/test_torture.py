"""The torture's short version: killed, stopped or hurt anywhere, a run ends in the bytes of an undisturbed one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from torture import kills, steps, zombies
from torture.faults import FileFaults
from torture.ground import Ground, prepare_ground
from torture.herd import Herd
from torture.scenarios import FILE_FAULTS
from torture.trouble import TROUBLES

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(shutil.which("cc") is None, reason="the shim that makes calls fail needs a C compiler"),
]

TROUBLES_IN_CI = ["worker killed", "parent killed", "SIGTERM", "source grows", "device out of memory"]
TROUBLES_IN_CI += ["device's context lost", "device's context lost twice", "a shard that kills workers"]
CI_FAULTS = [
    "write _embed/tmp: ENOSPC, from then on",
    "fsync _embed/tmp: EIO",
    "link data: ESTALE",
    "link data: EPERM, from then on",
    "fsync data: EIO",
    "read <corpus>: EIO",
]


@pytest.fixture(scope="module")
def ground(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Six small shards, embedded undisturbed, and a zygote that forks runs."""
    with Herd() as herd:
        yield prepare_ground(herd, tmp_path_factory.mktemp("torture") / "ground", tiny_model, 6)


def test_group_kills_over_two_racing_runs(ground: Ground) -> None:
    """Two runs race; six times the whole group of one is killed: nothing is lost, doubled, different or left."""
    seen = kills.race(ground, 6, seed=0)
    assert seen.total == 6


def test_a_careless_writer_is_found(ground: Ground) -> None:
    """The harness bites: a run that wrote under final names at once would not pass."""
    assert kills.careless_writer_is_found(ground)


def test_a_woken_run_changes_nothing(ground: Ground) -> None:
    """A run that is stopped in mid-work, overtaken and woken touches nothing in data/."""
    zombies.wake(ground, 1, seed=0)


def test_a_stopped_sweeper_holds_nobody_up(ground: Ground) -> None:
    """A run that is stopped while it sweeps does not keep another from its work."""
    zombies.stop_sweeper(ground)


def test_killed_before_the_job_has_its_mark(ground: Ground) -> None:
    """A run killed over its first files in a new OUT leaves nothing that stays."""
    steps.kill_at_steps(ground, [7, 10])


@pytest.mark.parametrize("name", CI_FAULTS)
def test_a_file_fault(ground: Ground, name: str) -> None:
    """A call that fails ends the run as documented; without the fault the same line gives the undisturbed bytes."""
    (scenario,) = (s for s in FILE_FAULTS if s.name == name)
    FileFaults(ground).strike(scenario, seed=1)


@pytest.mark.parametrize("name", TROUBLES_IN_CI)
def test_a_trouble(ground: Ground, name: str) -> None:
    """A fault of a process, an input or a device ends as documented; then the same line completes the result."""
    TROUBLES[name](ground, random.Random(0))
