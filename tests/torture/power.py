"""Power cuts: OUT lies on a file system of its own, which is shut down in mid-run and mounted again.

FS_IOC_SHUTDOWN with LOGFLUSH is the harsh way: names reach the disk, bytes that nobody synced
do not. It needs root and a loop device.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torture.ground import Ground, parts
from torture.herd import Run

SHUTDOWN, LOGFLUSH = 0x8004587D, (1).to_bytes(4, "little")
MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}


# ext4 by itself flushes a file that was truncated and closed, as a part's is: another file system may not.
OPTIONS = {"ext4": "loop,noauto_da_alloc", "xfs": "loop"}


class NoPowerError(Exception):
    """Power cannot be cut here, and why."""


@dataclass
class Cuts:
    """Cuts, those that fell while parts stood, damaged files seen after one, and results that became whole."""

    done: int = 0
    with_parts: int = 0
    damaged: int = 0
    results: int = 0


class Disk:
    """A file system in a file."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.options = OPTIONS[kind]
        self.image, self.mount = folder / f"{kind}.img", folder / kind
        self.mount.mkdir(exist_ok=True)
        with self.image.open("wb") as file:
            file.truncate(400 << 20)
        _do(*MAKE[kind], self.image)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mount it, and unmount it whatever happened to it."""
        _do("mount", "-o", self.options, self.image, self.mount)
        try:
            yield self.mount
        finally:
            self._unmount()

    def _unmount(self) -> None:
        for _ in range(100):
            if subprocess.run(["umount", self.mount], check=False, capture_output=True).returncode == 0:
                return
            time.sleep(0.05)
        raise NoPowerError(f"{self.mount} stays busy")

    def cut(self) -> None:
        """Take the power away: nothing reaches the disk any more."""
        descriptor = os.open(self.mount, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, SHUTDOWN, LOGFLUSH)
        finally:
            os.close(descriptor)


def _do(*command: object) -> None:
    try:
        subprocess.run([*map(str, command)], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        raise NoPowerError(f"{command[0]}: {error.stderr.decode().strip()}") from error


def cut_power(
    ground: Ground, kind: str, cuts: int, seed: int, patches: Sequence[str] = (), *, control: bool = False
) -> Cuts:
    """Cut so often; what is visible then must be whole, and the same line must go on to the undisturbed result.

    With `control`, damage is counted, and the result thrown away.

    Raises:
        NoPowerError: it cannot be done here.
    """
    if os.geteuid() or not shutil.which(MAKE[kind][0]):
        raise NoPowerError(f"{kind} needs root and {MAKE[kind][0]}")
    disk, dice, seen = Disk(ground.root, kind), random.Random(seed), Cuts()
    while seen.done < cuts:
        name = ground.new_out().name
        while seen.done < cuts and not _one_life(ground, disk, name, dice, seen, patches, control=control):
            with disk.mounted() as mount:
                bad = ground.differing(mount / name)
                seen.damaged += len(bad)
                seen.with_parts += bool(parts(mount / name))
            assert control or not bad, f"damaged by power cut {seen.done}: {bad}"
            if bad:
                break
        with disk.mounted() as mount:
            if not control:
                ground.finish(mount / name)
                seen.results += 1
            ground.drop(mount / name)
    disk.image.unlink()
    return seen


def _one_life(
    ground: Ground, disk: Disk, name: str, dice: random.Random, seen: Cuts, patches: Sequence[str], *, control: bool
) -> bool:
    """Run until the power is cut at a moment drawn from a run's life; True if the run was faster."""
    with disk.mounted() as mount:
        run: Run = ground.herd.start(*ground.line(mount / name), patches=patches)
        moment = run.begin + dice.uniform(0.0, ground.life)
        while time.monotonic() < moment and run.code is None:
            time.sleep(0.002)
        if run.code is not None:
            assert control or run.code == 0, run.said
            seen.damaged += run.code != 0  # not a part, but the job's own file
            return True
        disk.cut()
        run.kill()
        seen.done += 1
    return False


def cut_all(ground: Ground, cuts: int) -> list[str]:
    """Cut on each file system, with the fsyncs and without; return lines for the table."""
    lines = []
    for kind in MAKE:
        try:
            seen = cut_power(ground, kind, cuts, seed=1)
            lines.append(
                f"{seen.done} power cuts on {kind}, {seen.with_parts} with parts there, {seen.results} results: "
                f"{seen.damaged} damaged files"
            )
            control = cut_power(ground, kind, cuts, seed=1, patches=["unsynced"], control=True)
            assert control.damaged, f"{kind}: cuts without fsync do no damage, so they prove nothing"
            lines.append(
                f"  {control.done} cuts on {kind} with the fsyncs taken out, {control.with_parts} with parts there: "
                f"{control.damaged} damaged files"
            )
        except NoPowerError as error:
            lines.append(f"power cuts on {kind} skipped: {error}")
    return lines
