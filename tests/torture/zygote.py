"""A process that has imported everything once and forks each run of the command: a run begins at once, not after 8 s.

It reads one JSON line a request from stdin and answers each with one. A forked run leads a
session of its own; at its end only the interpreter's tearing down of modules, 2 s, is left out.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

sys.path[:0] = [str(Path(__file__).parents[1])]

PR_SET_CHILD_SUBREAPER = 36


def become_run(request: dict[str, Any]) -> None:
    """Make this forked process the run that was asked for: its session, output, faults and patches."""
    os.setsid()
    output = os.open(request["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(i, mode, closefd=False) for i, mode in enumerate("rww"))
    os.environ.update(request["env"])
    with suppress(AttributeError):  # the shim is not loaded
        ctypes.CDLL(None).fault_arm()
    from torture import patches

    for name in request["patches"]:
        getattr(patches, name)()
    sys.argv = ["embed-corpus", *request["argv"]]


def ended() -> dict[int, int]:
    """Reap what has ended, orphans of runs too: process id and exit code, negative for a signal."""
    found = {}
    with suppress(ChildProcessError):
        while (done := os.waitpid(-1, os.WNOHANG))[0]:
            found[done[0]] = os.waitstatus_to_exitcode(done[1])
    return found


def serve() -> None:
    """Answer requests until stdin ends; returns at once in a process forked to be a run."""
    answers = os.fdopen(os.dup(1), "w")
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(line)
        if "argv" in request:
            pid = os.fork()
            if pid == 0:
                become_run(request)
                return
            answers.write(f"{pid}\n")
        else:
            answers.write(json.dumps(ended()) + "\n")
        answers.flush()
    os._exit(0)


def end(main: Callable[[], NoReturn]) -> NoReturn:
    """Run the command and end with its exit code."""
    code: object = 1
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001  # shown as the interpreter would
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # A worker sets the last one before it imports torch, which here is done: threads that wait shall sleep.
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_WAIT_POLICY": "PASSIVE"}
    sys.path[:0] = [str(Path(__file__).parents[2] / "pipeline")]
    import faiss  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
    from transformers import BertConfig, BertModel  # noqa: F401

    from embed_corpus.cli import main

    get_context = multiprocessing.get_context
    multiprocessing.get_context = lambda _=None: get_context("fork")  # type: ignore[assignment]
    # What a spawned process would not inherit.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    gc.freeze()  # collecting in a child would copy the pages
    serve()
    end(main)
