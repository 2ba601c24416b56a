"""Processes that begin at once: a server has imported everything and forks each, where spawning takes 5 to 8 s.

It is multiprocessing's own fork server, so what reaches a process is pickled as it is when one is spawned, and nothing
else is inherited: no descriptor, thread or state of its parent. What differs: its modules are imported already, and its
parent by process id is the server. A test that is about either has the marker `spawn`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing import forkserver, spawn
from multiprocessing.context import SpawnProcess
from multiprocessing.popen_forkserver import Popen
from multiprocessing.popen_spawn_posix import Popen as PopenSpawn
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

MAIN = [sys.executable, "-m", "embed_corpus"]
READ_AT_START = ("PYTHONPATH", "PYTHONHASHSEED", "LD_LIBRARY_PATH")
"""Variables that a forked process would heed too late: where a test changes one, processes are spawned."""
TIMEOUT = 300.0
"""Seconds."""

_preparation, _prepare = spawn.get_preparation_data, spawn.prepare
start: dict[str, str | None] = {}
"""Those variables at the start; empty: processes are spawned."""


def use() -> None:
    """Let processes that this one would spawn be forked by the server; it starts with the first of them."""
    start.update({name: os.environ.get(name) for name in READ_AT_START})
    server = forkserver._forkserver  # type: ignore[attr-defined]
    server.set_forkserver_preload(["kit.forked_server"])
    ensure_running = server.ensure_running

    def ensure() -> None:
        with _path():
            ensure_running()

    server.ensure_running = ensure
    _install()


def _install() -> None:
    SpawnProcess._Popen = staticmethod(_popen)
    spawn.get_preparation_data = _preparation_data


def prepare(data: dict[str, Any]) -> None:
    """Make a forked process what a spawned one would be: with its parent's environment."""
    start.update(data.pop("start"))
    os.environ.clear()
    os.environ.update(data.pop("environ"))
    _prepare(data)


def serve() -> None:
    """Prepare this process, the server, to be forked: children ask it, too, for the processes that they start."""
    server = forkserver._forkserver  # type: ignore[attr-defined]
    server.ensure_running = lambda: None
    spawn.prepare = prepare
    _install()


def _popen(process: BaseProcess) -> object:
    return Popen(process) if _unchanged() else PopenSpawn(process)


def _unchanged() -> bool:
    return bool(start) and all(os.environ.get(name) == value for name, value in start.items())


def _preparation_data(name: str) -> dict[str, Any]:
    data = _preparation(name)
    if _unchanged():
        data = {k: v for k, v in data.items() if not k.startswith("init_main")}  # pytest's, which no process needs
        data |= {"environ": dict(os.environ), "start": dict(start)}
    return data


@contextlib.contextmanager
def _path() -> Any:
    """Let the server find this package; what it forks gets its parent's path."""
    before = os.environ.get("PYTHONPATH")
    ours = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = ours if before is None else f"{ours}:{before}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def command(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own and return it, finished; options are those of `subprocess.run`."""
    words = [*map(str, args)]
    if options.keys() - {"cwd"} or not _unchanged():
        return spawned(*args, **options)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("out", "err")]
        process = multiprocessing.get_context("spawn").Process(
            target=_run, args=(words, str(options.get("cwd", Path.cwd())), [*map(str, files)])
        )
        process.start()
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, TIMEOUT)
        out, err = (file.read_text(encoding="utf8") for file in files)
        return subprocess.CompletedProcess([*MAIN, *words], process.exitcode, out, err)


def spawned(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """As `command`, in an interpreter of its own."""
    line = [*MAIN, *map(str, args)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=TIMEOUT, **options)


def _run(words: list[str], cwd: str, files: list[str]) -> None:
    """Become the command."""
    from embed_corpus.cli import main

    for target, file in enumerate(files, 1):
        descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.chdir(cwd)
    sys.argv = ["embed-corpus", *words]
    main()
