"""Which devices a job uses, and in which precision."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from embed_corpus.errors import UsageError

__all__ = ["device_kind", "resolve_devices", "resolve_precision", "threads_each"]


def resolve_devices(text: str) -> tuple[str, ...]:
    """Turn `--devices` into torch device names: "all" is every visible GPU, else the CPU.

    Raises:
        UsageError: neither "all", "cpu" nor GPU numbers, or a GPU that is not there.
    """
    if text == "cpu":
        return ("cpu",)
    n_gpus = len(_capabilities())
    if text == "all":
        return tuple(f"cuda:{i}" for i in range(n_gpus)) or ("cpu",)
    numbers = text.removeprefix("cuda:").split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise UsageError(f"--devices {text!r}: give all, cpu, or GPU numbers such as 0,1.")
    chosen = [int(number) for number in numbers]
    if missing := [number for number in chosen if number >= n_gpus]:
        raise UsageError(f"--devices {text}: there is no GPU {missing[0]}; {n_gpus} are visible.")
    return tuple(f"cuda:{number}" for number in dict.fromkeys(chosen))


_ASK_DRIVER = """
import ctypes
driver, count, device, value = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
    driver.cuDriverGetVersion(ctypes.byref(value))
    print(value.value // 1000, end=" ")  # the CUDA that it knows
    for i in range(count.value):
        driver.cuDeviceGet(ctypes.byref(device), i)
        for attribute in (75, 76):  # compute capability, major and minor
            driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            print(value.value, end=" ")
"""


@cache
def _capabilities() -> tuple[tuple[int, int], ...]:
    """Return the compute capability of each visible GPU, in torch's order.

    A process of its own asks the driver, so that the parent stays free of CUDA; it does without
    torch, whose import would cost seconds.
    """
    built_for = _torch_cuda()
    if not built_for:
        return ()
    command = [sys.executable, "-I", "-c", _ASK_DRIVER]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own interpreter
    known, *numbers = map(int, answer.stdout.split()) if answer.returncode == 0 and answer.stdout else (0,)
    if known < built_for:
        return ()  # no driver, or one too old for this torch
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _torch_cuda() -> int:
    """Return the major version of CUDA that torch was built for, 0 if for none; torch is not imported for that."""
    spec = importlib.util.find_spec("torch")
    origin = spec.origin if spec else None
    text = Path(origin).with_name("version.py").read_text(encoding="utf8") if origin else ""
    found = re.search(r"^cuda\b[^=]*= '(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _capability(device: str) -> tuple[int, int]:
    return _capabilities()[int(device.removeprefix("cuda:"))]


def device_kind(device: str) -> str:
    """Name what a device's speed hangs on: "cuda 9.0" by compute capability, or "cpu, 8 cores"."""
    if device == "cpu":
        return f"cpu, {threads_each(1)} cores"
    major, minor = _capability(device)
    return f"cuda {major}.{minor}"


_BERT_LIKE = {"bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "ernie", "albert", "modernbert"}


def resolve_precision(asked: str, device: str, family: str) -> str:
    """Return the precision: for "auto" fp32 on the CPU, fp16 for BERT's family, else bf16 where the GPU has it.

    fp16 keeps BERT-like encoders within cosine 0.99999 of fp32 (bf16: 0.9998); decoders
    overflow fp16's range, so they get bf16 (measured). Vectors that overflow are redone in fp32.

    Raises:
        UsageError: fp8 on a device that has none.
    """
    if asked == "fp8" and (device == "cpu" or _capability(device) < (8, 9)):
        raise UsageError("--precision fp8 needs a GPU that has it (Ada, Hopper or later): use --precision auto.")
    if asked != "auto":
        return asked
    if device == "cpu":
        return "fp32"
    return "fp16" if family in _BERT_LIKE or _capability(device) < (8, 0) else "bf16"


def threads_each(n_workers: int) -> int:
    """Return the threads of one worker: the cores this process may use, divided."""
    return max(1, len(os.sched_getaffinity(0)) // n_workers)
