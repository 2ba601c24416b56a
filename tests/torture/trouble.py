"""Faults of processes, devices, inputs, clocks and disks: a run meets one and ends as documented."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torture.ground import Ground, left_over, parts, until
from torture.herd import Run

Trouble = Callable[[Ground, random.Random], str]


def _begun(ground: Ground, out: Path, dice: random.Random, *more: object, patches: tuple[str, ...] = ()) -> Run:
    """Start a run and wait until some of its parts are there."""
    run = ground.herd.start(*ground.line(out, *more), patches=patches)
    n = dice.randint(1, len(ground.clean) // 4 + 1)
    assert until(lambda: len(parts(out)) >= n, run), run.said
    return run


def _ends(ground: Ground, run: Run, out: Path, *codes: int, says: str = "", notes: str = "") -> str:
    """See how a run ends, and that the same line then makes OUT whole; tell whether it noted what was done to it."""
    code = run.wait()
    assert code in codes, f"exit code {code}:\n{run.said}"
    assert "Traceback" not in run.said, run.said
    assert says in run.said, run.said
    assert not ground.differing(out)
    ground.finish(out)
    ground.drop(out)
    noted = f", {'noted' if notes in run.said else 'over before'}" if notes else ""
    return f"exit code {code}{noted}"


def worker_killed(ground: Ground, dice: random.Random) -> str:
    """The kernel kills a worker: another takes its place."""
    run = _begun(ground, out := ground.new_out(), dice)
    for pid in run.spawned()[:1]:
        os.kill(pid, signal.SIGKILL)
    return _ends(ground, run, out, 0, notes="another takes its place")


def workers_killed(ground: Ground, dice: random.Random) -> str:
    """Whatever worker comes is killed: the run gives up and says so."""
    out = ground.new_out()
    run = ground.herd.start(*ground.line(out))
    while run.code is None:
        for pid in run.spawned():
            os.kill(pid, signal.SIGKILL)
        time.sleep(dice.uniform(0, 0.05))
    return _ends(ground, run, out, 1, says="run the same line again")


def worker_hung(ground: Ground, dice: random.Random) -> str:
    """A worker stands still: it is ended, and another takes its place."""
    run = _begun(ground, out := ground.new_out(), dice, patches=("impatient",))
    for pid in run.spawned()[:1]:
        os.kill(pid, signal.SIGSTOP)
    return _ends(ground, run, out, 0, notes="hung for")


def parent_killed(ground: Ground, dice: random.Random) -> str:
    """The parent alone is killed: its worker ends by itself."""
    run = _begun(ground, out := ground.new_out(), dice)
    os.kill(run.pid, signal.SIGKILL)
    return _ends(ground, run, out, -9, 0)


def loader_killed(ground: Ground, dice: random.Random) -> str:
    """A loader process is killed: its rows are chunked again."""
    run = _begun(ground, out := ground.new_out(), dice, "--loader-workers", "1", patches=("slow_loader",))
    for pid in run.spawned()[1:]:
        os.kill(pid, signal.SIGKILL)
    return _ends(ground, run, out, 0, notes="a loader process died")


def _told_to_stop(number: signal.Signals) -> Trouble:
    def trouble(ground: Ground, dice: random.Random) -> str:
        out = ground.new_out()
        run = ground.herd.start(*ground.line(out))
        time.sleep(0.1 + dice.uniform(0.0, 0.8 * ground.life))
        if run.code is None:
            run.signal(number)  # Ctrl-C reaches the whole group
        return _ends(ground, run, out, 75, 0)

    return trouble


def short_of_memory(ground: Ground, dice: random.Random) -> str:
    """The device runs out of memory: batches become smaller."""
    out = ground.new_out()
    return _ends(ground, ground.herd.start(*ground.line(out), patches=("short_of_memory",)), out, 0)


def device_fails(ground: Ground, dice: random.Random) -> str:
    """A device's context is lost: its worker is replaced, and the run goes on."""
    out = ground.new_out()
    run = ground.herd.start(*ground.line(out), patches=("device_fails_once",))
    return _ends(ground, run, out, 0, says="CUDA error: an illegal memory access")


def device_is_retired(ground: Ground, dice: random.Random) -> str:
    """A device fails again and again: the others go on without it."""
    out = ground.new_out()
    run = ground.herd.start(*ground.line(out, "--devices", "cpu,cpu"), patches=("device_fails_twice",))
    return _ends(ground, run, out, 0, says="CUDA error: an illegal memory access")


def poison(ground: Ground, dice: random.Random) -> str:
    """Workers die over one shard: all others are done, and the run says which it was."""
    out = ground.new_out()
    run = ground.herd.start(*ground.line(out), patches=("poison",))
    assert run.wait() == 4, run.said
    assert sorted(parts(out)) == sorted(name for name in ground.clean if not name.startswith("02-")), run.said
    return _ends(ground, run, out, 4, says="02.jsonl, rows 0 to")


def no_numbers(ground: Ground, dice: random.Random) -> str:
    """The model gives NaN for a common token: the documents are rejected, and none is visible."""
    out = ground.new_out()
    run = ground.herd.start(*ground.line(out), patches=("no_numbers",))
    assert run.wait() == 3, run.said
    assert "not_finite" in run.said, run.said
    assert not left_over(out)
    assert sorted(parts(out)) == sorted(ground.clean)
    assert b"\x00\x00\xc0\x7f" * 32 not in b"".join(parts(out).values()), "a vector of NaN is visible"
    ground.drop(out)
    return "exit code 3"


def _source(ground: Ground, dice: random.Random, harm: Callable[[Path], None], *codes: int) -> str:
    """Harm the last source while the first are embedded, then mend it."""
    corpus = ground.new_out()
    shutil.copytree(ground.corpus, corpus)
    out = ground.new_out()
    victim = max(corpus.iterdir())
    stat, content = victim.stat(), victim.read_bytes()
    run = ground.herd.start(*ground.line(out, corpus=corpus))
    assert until((out / "_embed" / "run.json").exists, run), run.said
    harm(victim)
    code = run.wait()
    assert code in codes, f"exit code {code}:\n{run.said}"
    assert "Traceback" not in run.said, run.said
    n = len(parts(out))
    victim.write_bytes(content)
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    last = ground.herd.start(*ground.line(out, corpus=corpus))
    assert last.wait() == 0, last.said
    ground.same(out)
    ground.drop(out)
    ground.drop(corpus)
    return f"exit code {code}, {len(ground.clean) - n} parts open"


def source_vanishes(ground: Ground, dice: random.Random) -> str:
    """A source is deleted in mid-run."""
    return _source(ground, dice, Path.unlink, 4)


def source_grows(ground: Ground, dice: random.Random) -> str:
    """Rows are added to a source in mid-run."""

    def grow(file: Path) -> None:
        with file.open("a") as stream:
            stream.write('{"id": "new", "text": "one more"}\n')

    return _source(ground, dice, grow, 4)


def source_is_cut(ground: Ground, dice: random.Random) -> str:
    """A source is cut off in mid-run, in the middle of a row."""
    return _source(ground, dice, lambda file: os.truncate(file, file.stat().st_size * 2 // 3), 4)


def _clock(patch: str) -> Trouble:
    def trouble(ground: Ground, dice: random.Random) -> str:
        out = ground.new_out()
        return _ends(ground, ground.herd.start(*ground.line(out), patches=(patch,)), out, 0)

    return trouble


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """Mount a file system of this size; PermissionError where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "none", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        raise PermissionError("this user may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def disk_full(ground: Ground, dice: random.Random) -> str:
    """The disk fills up in mid-run; then there is room."""
    clean = sum(map(len, ground.clean.values())) // 1024
    with small_disk(ground.root / "disk", dice.randint(clean // 2, clean)) as disk:
        out = ground.new_out(disk)
        run = ground.herd.start(*ground.line(out))
        run.wait()
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        return _ends(ground, run, out, 74)


def disk_read_only(ground: Ground, dice: random.Random) -> str:
    """The disk is remounted read-only between two runs, as after an error; then it is writable again."""
    with small_disk(ground.root / "disk", 65536) as disk:
        out = ground.new_out(disk)
        _begun(ground, out, dice).kill()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        run = ground.herd.start(*ground.line(out))
        run.wait()
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        return _ends(ground, run, out, 74)


TROUBLES: dict[str, Trouble] = {
    "worker killed": worker_killed,
    "every worker killed": workers_killed,
    "worker hung": worker_hung,
    "parent killed": parent_killed,
    "loader process killed": loader_killed,
    "SIGTERM": _told_to_stop(signal.SIGTERM),
    "Ctrl-C": _told_to_stop(signal.SIGINT),
    "device out of memory": short_of_memory,
    "device's context lost": device_fails,
    "device's context lost twice": device_is_retired,
    "a shard that kills workers": poison,
    "NaN from the model": no_numbers,
    "source vanishes": source_vanishes,
    "source grows": source_grows,
    "source is cut off": source_is_cut,
    "clock jumps a day ahead": _clock("clock_forward"),
    "clock jumps a day back": _clock("clock_back"),
    "disk full": disk_full,
    "disk read-only": disk_read_only,
}


def meet_all(ground: Ground, seeds: int) -> list[str]:
    """Let every trouble come so often; return lines for the table."""
    lines, skipped = [], 0
    for name, trouble in TROUBLES.items():
        try:
            ends = sorted({trouble(ground, random.Random(f"{name} {seed}")) for seed in range(seeds)})
        except PermissionError as error:
            ends, skipped = [f"skipped: {error}"], skipped + 1
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        lines.append(f"  {name:45} {'; '.join(ends)}")
    return [f"{len(TROUBLES) - skipped} faults of processes, devices, inputs and disks x {seeds} seeds: 0 bad", *lines]
