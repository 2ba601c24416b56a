"""The one sentence that a run's seconds come down to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embed_corpus.report.stats import WorkerStats, verdict

GPU = WorkerStats("cuda:0", 100.0, {"encode": 20.0}, busy=97.0, loaders=4, cores=16)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "cuda:0 was at work 97% of the time: it is the limit."),
        ({"busy": 60.0, "seconds": {"wait": 38.0, "chunk": 390.0}}, "waited 38% of the time for tokens: tokenizer-b"),
        ({"busy": 60.0, "seconds": {"wait": 38.0}}, "use --loader-workers 7 or install embed-corpus[fast]."),
        ({"busy": 60.0, "seconds": {"wait": 38.0}, "lane": "tokie"}, "use --loader-workers 7."),
        ({"busy": 20.0, "seconds": {"wait": 78.0}, "cores": 8}, "with all 8 cores; more cores a GPU would help"),
        ({"busy": 60.0, "seconds": {"wait": 38.0, "read": 95.0}}, "reading is the limit"),
        ({"busy": 60.0, "seconds": {"held": 30.0, "wait": 8.0}}, "for the writer: the disk of OUT is the limit"),
        ({"busy": 60.0}, "waited for nothing"),
        ({"busy": 4.0, "elapsed": 5.0, "seconds": {"wait": 1.0}}, "too short a run to judge"),
        ({"device": "cpu", "busy": 0.0, "loaders": 0, "seconds": {"encode": 70.0}}, "cpu was at work 70%"),
    ],
)  # fmt: skip
def test_what_a_run_waited_for(changes: dict[str, object], words: str) -> None:
    """The sentence names what the device waited for, and what would help."""
    assert words in verdict([replace(GPU, **changes)])  # type: ignore[arg-type]


def test_the_worker_that_waited_most_speaks() -> None:
    """Of several workers the idlest is told; of none nothing."""
    idle = replace(GPU, device="cuda:1", busy=50.0, seconds={"wait": 45.0})
    assert verdict([GPU, idle, GPU]).startswith("cuda:1 waited 45%")
    assert verdict([]) == ""


def test_a_devices_line() -> None:
    """What a device did, by its own clock and the driver's, beside what it can do."""
    line = replace(GPU, utilization=0.99, flops_per_s=4.8e14, matrix_rate=6.6e14).line()
    assert line == "cuda:0: 97% of the time at work (driver: 99%), 480 TFLOP/s, 73% of its matrix rate"
