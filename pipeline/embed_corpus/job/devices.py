"""Which devices a job uses, and in which precision."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from embed_corpus.engine.families import family_of
from embed_corpus.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cores_of", "device_kind", "resolve_devices", "resolve_precision"]

_PCI = Path("/sys/bus/pci/devices")


def resolve_devices(text: str) -> tuple[str, ...]:
    """Turn `--devices` into torch device names: "all" is every visible GPU, else the CPU.

    "cpu,cpu" is two workers that divide the cores.

    Raises:
        UsageError: neither "all", "cpu" nor GPU numbers, or a GPU that is not there.
    """
    if set(parts := text.split(",")) == {"cpu"}:
        return tuple(parts)
    n_gpus = len(_gpus())
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
        bus = ctypes.create_string_buffer(32)
        driver.cuDeviceGetPCIBusId(bus, 32, device)
        print(bus.value.decode().lower() or "-", end=" ")
"""


class _Gpu(NamedTuple):
    capability: tuple[int, int]
    bus: str


@cache
def _gpus() -> tuple[_Gpu, ...]:
    """Return the compute capability and the place on the PCI bus of each visible GPU, in torch's order.

    A process of its own asks the driver, so that the parent stays free of CUDA; it does without
    torch, whose import would cost seconds.
    """
    built_for = _torch_cuda()
    if not built_for:
        return ()
    command = [sys.executable, "-I", "-c", _ASK_DRIVER]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own interpreter
    known, *seen = answer.stdout.split() if answer.returncode == 0 and answer.stdout else ("0",)
    if int(known) < built_for:
        return ()  # no driver, or one too old for this torch
    each = zip(seen[::3], seen[1::3], seen[2::3], strict=True)
    return tuple(_Gpu((int(major), int(minor)), bus) for major, minor, bus in each)


def _torch_cuda() -> int:
    """Return the major version of CUDA that torch was built for, 0 if for none; torch is not imported for that."""
    spec = importlib.util.find_spec("torch")
    origin = spec.origin if spec else None
    text = Path(origin).with_name("version.py").read_text(encoding="utf8") if origin else ""
    found = re.search(r"^cuda\b[^=]*= '(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _capability(device: str) -> tuple[int, int]:
    return _gpus()[int(device.removeprefix("cuda:"))].capability


def device_kind(device: str) -> str:
    """Name what a device's speed depends on: "cuda 9.0" by compute capability, or "cpu, 8 cores"."""
    if device == "cpu":
        return f"cpu, {len(os.sched_getaffinity(0))} cores"
    major, minor = _capability(device)
    return f"cuda {major}.{minor}"


def resolve_precision(asked: str, device: str, family: str) -> str:
    """Return the precision: for "auto" fp32 on the CPU, fp16 for BERT's family, else bf16 where the GPU has it.

    fp16 keeps BERT-like encoders within cosine 0.99999 of fp32 (bf16: 0.9998); decoders
    overflow fp16's range, so they get bf16 (measured). Vectors that overflow are redone in fp32.
    A table is always fp32.

    Raises:
        UsageError: fp8 on a device that has none, or anything but fp32 for a table.
    """
    if family == "static":
        if asked not in ("auto", "fp32"):
            raise UsageError(f"--precision {asked}: a StaticEmbedding model is a table of fp32 numbers. Drop it.")
        return "fp32"
    if asked == "fp8" and (device == "cpu" or _capability(device) < (8, 9)):
        raise UsageError("--precision fp8 needs a GPU that has it (Ada, Hopper or later): use --precision auto.")
    if asked != "auto":
        return asked
    if device == "cpu":
        return "fp32"
    return "fp16" if _capability(device) < (8, 0) else family_of(family).half


def cores_of(devices: Sequence[str]) -> list[frozenset[int]]:
    """Divide the cores that this process may use among devices; a GPU gets those of its own NUMA node.

    One device gets all: it may need more than its node has.
    """
    mine = tuple(sorted(os.sched_getaffinity(0)))
    if len(devices) == 1:
        return [frozenset(mine)]
    near = [tuple(core for core in mine if core in _near(device)) or mine for device in devices]
    return [
        frozenset(own[near[:i].count(own) :: near.count(own)] or own)  # each takes its turn among those beside it
        for i, own in enumerate(near)
    ]


def _near(device: str) -> set[int]:
    """Return the cores of a GPU's NUMA node; empty if the machine does not say."""
    if device == "cpu":
        return set()
    file = _PCI / _gpus()[int(device.removeprefix("cuda:"))].bus / "local_cpulist"
    try:
        ranges = [part.split("-") for part in file.read_text().strip().split(",")]
        return {core for ends in ranges for core in range(int(ends[0]), int(ends[-1]) + 1)}
    except (OSError, ValueError):
        return set()
