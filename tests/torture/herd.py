"""Runs of the command, forked from a zygote: start, kill, stop, wait, and see that none is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

KILL, KILL_GROUP, STOP_GROUP = -1, -2, -3
"""In the place of an errno."""
HERE = Path(__file__).parent
LIMIT = 60.0
"""Seconds after which a run counts as hung; an undisturbed one takes two."""


def build_shim(folder: Path) -> Path:
    """Compile the library that makes calls fail."""
    library = folder / "shim.so"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "shim.c", "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Fault:
    """The Nth call of a kind on paths below a folder fails with an errno, or stops the run there."""

    below: Path
    op: str = "*"
    nth: int = 0
    errno: int = 0
    lasting: bool = False

    def env(self, board: Path) -> dict[str, str]:
        """Return the shim's variables."""
        board.write_bytes(bytes(4096))
        return {
            "FAULT_BOARD": str(board),
            "FAULT_BELOW": str(self.below),
            "FAULT_OP": self.op,
            "FAULT_NTH": str(self.nth),
            "FAULT_ERRNO": str(self.errno),
            "FAULT_LASTING": str(int(self.lasting)),
        }


@dataclass
class Run:
    """One run of the command, the leader of a process group."""

    herd: Herd
    pid: int
    log: Path
    board: Path | None
    begin: float = field(default_factory=time.monotonic)

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it lives."""
        self.herd.reap()
        return self.herd.codes.get(self.pid)

    @property
    def calls(self) -> tuple[int, str]:
        """How many calls the shim has counted, and the last of them in words."""
        content = self.board.read_bytes() if self.board else bytes(8)
        return int.from_bytes(content[:8], sys.byteorder), content[8:].split(b"\0")[0].decode()

    @cached_property
    def said(self) -> str:
        """What it wrote to stdout and stderr; ask when it has ended."""
        return self.log.read_text(encoding="utf8", errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """Kill -9 the whole group, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, limit: float = LIMIT) -> int:
        """Wait for its end and return its exit code; hung or leaving a process behind, it fails."""
        deadline = time.monotonic() + limit
        while (code := self.code) is None:
            assert time.monotonic() < deadline, f"hangs after {limit:.0f} s:\n{self.said}"
            time.sleep(0.005)
        deadline = time.monotonic() + 10
        while left := self.members():
            assert time.monotonic() < deadline, f"left behind {left}:\n{self.said}"
            time.sleep(0.005)
            self.herd.reap()
        return code

    def members(self) -> list[int]:
        """Return the processes of its group, the leader first; one whose threads are not all dead holds its locks."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                pid = int(entry.name)
                group = (entry / "stat").read_text().rsplit(")", 1)[1].split()[2]
                if int(group) == self.pid:
                    found.append(pid)
        return sorted(found)

    def spawned(self) -> list[int]:
        """Return its workers and loaders, the worker first: not the tracker that multiprocessing starts beside them."""

        def tracks(pid: int) -> bool:
            with suppress(OSError):
                return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
            return False

        return [pid for pid in self.members()[1:] if not tracks(pid)]


class Herd:
    """All runs of one zygote; ends them when it is left."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="torture-"))
        env = dict(os.environ) | {"LD_PRELOAD": str(build_shim(self.folder)), "XDG_CACHE_HOME": str(self.folder)}
        command = [sys.executable, str(HERE / "zygote.py")]
        self._zygote = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True
        )
        self.codes: dict[int, int] = {}
        self._runs: list[Run] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for run in self._runs:
            if run.pid not in self.codes:
                run.signal(signal.SIGCONT)
                run.signal(signal.SIGKILL)
        self._zygote.communicate(timeout=30)
        shutil.rmtree(self.folder)

    def start(self, *argv: object, fault: Fault | None = None, patches: Sequence[str] = ()) -> Run:
        """Start the command with these arguments."""
        n = len(self._runs)
        log, board = self.folder / f"{n}.log", self.folder / f"{n}.board" if fault else None
        variables = fault.env(board) if fault and board else {}
        request: dict[str, object] = {
            "argv": [*map(str, argv)],
            "log": str(log),
            "env": variables,
            "patches": [*patches],
        }
        run = Run(self, int(self._ask(request)), log, board)
        self.codes.pop(run.pid, None)  # numbers come round
        self._runs.append(run)
        return run

    def reap(self) -> None:
        """Take in the exit codes of what has ended."""
        self.codes |= {int(pid): code for pid, code in json.loads(self._ask({})).items()}

    def _ask(self, request: dict[str, object]) -> str:
        assert self._zygote.stdin
        assert self._zygote.stdout
        self._zygote.stdin.write(json.dumps(request) + "\n")
        self._zygote.stdin.flush()
        return self._zygote.stdout.readline()
