"""What the driver says of a GPU, with a driver of our own making."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

DRIVER = """
#include <string.h>
static int n = 0;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) { *device = &n; return strcmp(uuid, "GPU-1"); }
int nvmlDeviceGetUtilizationRates(void *device, unsigned *share) {
    if (device != &n) return 1;
    share[0] = n++ % 2 ? 100 : 50; share[1] = 7; return n > 4; }
"""
ASK = """
import sys, time
from embed_corpus.engine.utilization import Utilization
seen = Utilization(sys.argv[1])
time.sleep(float(sys.argv[2]))
print(seen.mean())
"""


@pytest.mark.parametrize(
    ("uuid", "seconds", "mean"),
    [("GPU-1", 1.4, "0.75"), ("GPU-2", 0.5, "None"), ("GPU-1", 0, "None")],
)
def test_mean_of_what_the_driver_says(tmp_path: Path, uuid: str, seconds: float, mean: str) -> None:
    """The mean of all samples; None of a GPU that the driver does not know, or before the first one."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "driver.c").write_text(DRIVER)
    subprocess.run([compiler, "-shared", "-o", tmp_path / "libnvidia-ml.so.1", tmp_path / "driver.c"], check=True)
    command = [sys.executable, "-c", ASK, uuid, str(seconds)]
    done = subprocess.run(command, env={"LD_LIBRARY_PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == mean


def test_no_driver(tmp_path: Path) -> None:
    """Without the driver's library there is no figure."""
    command = [sys.executable, "-c", ASK, "GPU-1", "0.3"]
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None"
