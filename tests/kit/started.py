"""Runs in processes of their own, to be disturbed."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

MAIN = "from embed_corpus.cli import main\nmain()"


def start(corpus: Path, out: Path, model: Path, *options: str, code: str = MAIN) -> subprocess.Popen[str]:
    """Start the command as the leader of a process group of its own."""
    command = [sys.executable, "-c", code, "run", str(corpus), str(out), "--model", str(model), *options]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_parts(out: Path, n: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many parts are there."""
    deadline = time.monotonic() + 120
    while len(list((out / "data").glob("*.parquet"))) < n:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def parts(out: Path) -> dict[str, tuple[int, int, bytes]]:
    """Inode, time and bytes of every part."""
    found = sorted((out / "data").glob("*.parquet"))
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in found}


def contents(out: Path) -> dict[str, bytes]:
    """Bytes of every part."""
    return {name: part[2] for name, part in parts(out).items()}


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and those in it."""
    return [path for path in folder.rglob("*") if path.is_file()]


def spawned(process: psutil.Process) -> list[psutil.Process]:
    """The processes that another has spawned, not the trackers of multiprocessing."""
    return [child for child in process.children() if is_spawned(child)]


def is_spawned(process: psutil.Process) -> bool:
    """Whether a process is one that was spawned, and is still there: a zombie is not."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # of which ZombieProcess is one
        return False


def shared_memory(pid: int) -> set[Path]:
    """The files of shared memory that a process has mapped: semaphores among them."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {Path(line.split(maxsplit=5)[5]) for line in lines if "/dev/shm/sem." in line and "(deleted)" not in line}
