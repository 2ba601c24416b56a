"""Which devices and precision a job gets, with a driver of our own making: a library of a few functions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from embed_corpus.errors import UsageError
from embed_corpus.job import devices

pytestmark = pytest.mark.process

TORCH_CUDA = devices._torch_cuda  # before a test replaces it
DRIVER = """
#include <stdlib.h>
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *n) { *n = atoi(getenv("FAKE_GPUS")); return 0; }
int cuDeviceGet(int *device, int i) { *device = i; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 7 + device : 5 - 5 * device; return 0; }
int cuDeviceGetPCIBusId(char *bus, int n, int device) { strcpy(bus, "0000:AB:00.0"); bus[5] += device; return 0; }
"""


@pytest.fixture(autouse=True)
def _two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Turing (7.5) and an A100-like (8.0) card, and a torch built for CUDA."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "driver.c").write_text(DRIVER)
    subprocess.run([compiler, "-shared", "-o", tmp_path / "libcuda.so.1", tmp_path / "driver.c"], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("FAKE_GPUS", "2")
    monkeypatch.setattr(devices, "_torch_cuda", lambda: 13)
    devices._gpus.cache_clear()
    yield
    devices._gpus.cache_clear()


def test_all_means_every_gpu_else_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.resolve_devices("all") == ("cuda:0", "cuda:1")
    devices._gpus.cache_clear()
    monkeypatch.setenv("FAKE_GPUS", "0")
    assert devices.resolve_devices("all") == ("cpu",)


@pytest.mark.parametrize("built_for", [0, 14])
def test_a_torch_that_the_driver_does_not_serve_sees_no_gpu(monkeypatch: pytest.MonkeyPatch, built_for: int) -> None:
    monkeypatch.setattr(devices, "_torch_cuda", lambda: built_for)
    assert devices.resolve_devices("all") == ("cpu",)


def test_several_workers_on_the_cpu() -> None:
    assert devices.resolve_devices("cpu,cpu") == ("cpu", "cpu")


def test_a_gpu_that_is_not_there_is_named() -> None:
    assert devices.resolve_devices("1") == ("cuda:1",)
    with pytest.raises(UsageError, match="there is no GPU 2; 2 are visible"):
        devices.resolve_devices("0,2")


@pytest.mark.parametrize(
    ("asked", "device", "family", "expected"),
    [
        ("auto", "cpu", "bert", "fp32"),
        ("auto", "cuda:1", "bert", "fp16"),
        ("auto", "cuda:1", "qwen3", "bf16"),
        ("auto", "cuda:0", "qwen3", "fp16"),
        ("bf16", "cpu", "bert", "bf16"),
    ],
)
def test_precision_follows_family_and_card(asked: str, device: str, family: str, expected: str) -> None:
    assert devices.resolve_precision(asked, device, family) == expected


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_fp8_is_refused_where_the_device_has_none(device: str) -> None:
    with pytest.raises(UsageError, match="fp8 needs a GPU that has it"):
        devices.resolve_precision("fp8", device, "qwen3")


def test_what_torch_was_built_for_is_read_from_its_files() -> None:
    assert (TORCH_CUDA() > 0) == (torch.version.cuda is not None)


def test_each_gpu_gets_the_cores_of_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs of one NUMA node divide its cores, those this process may use; without a word of nodes, all cores."""
    nodes = {"cuda:0": set(range(4)), "cuda:1": set(range(4)), "cuda:2": {4, 5, 6, 99}, "cpu": set[int]()}
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: set(range(1, 8)))
    monkeypatch.setattr(devices, "_near", nodes.__getitem__)
    assert devices.cores_of(["cuda:0"]) == [set(range(1, 8))]
    assert devices.cores_of(["cuda:0", "cuda:1"]) == [{1, 3}, {2}]
    assert devices.cores_of(["cuda:0", "cuda:1", "cuda:2"]) == [{1, 3}, {2}, {4, 5, 6}]
    assert devices.cores_of(["cpu", "cpu"]) == [{1, 3, 5, 7}, {2, 4, 6}]


def test_more_workers_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker has a core, if need be one that others have too."""
    monkeypatch.setattr(devices.os, "sched_getaffinity", lambda _: {5})
    assert devices.cores_of(["cpu"] * 3) == [{5}, {5}, {5}]


def test_the_node_of_a_gpu_is_read_off_its_place_on_the_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says of the device at the driver's bus address, in ranges; nothing where it is silent."""
    monkeypatch.setattr(devices, "_PCI", tmp_path)
    (tmp_path / "0000:bb:00.0").mkdir()
    (tmp_path / "0000:bb:00.0" / "local_cpulist").write_text("0-2,8\n")
    assert devices._near("cuda:1") == {0, 1, 2, 8}
    assert devices._near("cuda:0") == devices._near("cpu") == set()
