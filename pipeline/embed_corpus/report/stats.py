"""What each worker spent its time on, and the one sentence that it comes down to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["WorkerStats", "verdict"]


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """What a worker did with its time.

    Attributes:
        device: where it ran.
        elapsed: seconds from its first shard to its last commit.
        seconds: by stage; those of stages that run beside each other add up to more than `elapsed`.
        busy: seconds that the GPU worked on batches; 0 on a CPU.
        flops_per_s: the model's arithmetic over `elapsed`.
        matrix_rate: FLOP/s of a large matrix product on the device; 0 if it was not measured.
        utilization: share of the time that the driver calls the GPU busy (NVML); None without it.
        loaders: processes that chunked; 0: the worker itself did.
        cores: cores that the worker and its loaders had.
        lane: the library that tokenised.
        reused: tokens of chunks that had their vectors already and were not embedded again.
    """

    device: str
    elapsed: float
    seconds: dict[str, float]
    busy: float = 0.0
    flops_per_s: float = 0.0
    matrix_rate: float = 0.0
    utilization: float | None = None
    loaders: int = 0
    cores: int = 1
    lane: str = "tokenizers"
    reused: int = 0

    def share(self, seconds: float) -> float:
        """Return seconds as a share of the time that passed."""
        return min(1.0, seconds / max(self.elapsed, 1e-9))

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)

    def line(self) -> str:
        """Say how the device fared."""
        text = f"{self.device}: {self.share(self.busy or self.seconds.get('encode', 0.0)):.0%} of the time at work"
        if self.utilization is not None:
            text += f" (driver: {self.utilization:.0%})"
        if self.flops_per_s:
            text += f", {self.flops_per_s / 1e12:,.{0 if self.flops_per_s > 1e13 else 2}f} TFLOP/s"
        if self.matrix_rate:
            text += f", {self.flops_per_s / self.matrix_rate:.0%} of its matrix rate"
        return text


_ENOUGH = 0.9
"""A device at work for this share of the time is what limits the run."""
_SHORT = 10.0
"""Seconds; a run that is shorter is beginning and end."""


def verdict(workers: list[WorkerStats]) -> str:
    """Say in one sentence what the run waited for, by the worker that waited most, and what would help."""
    if not workers:
        return ""
    worst = min(workers, key=lambda w: w.share(w.busy or w.seconds.get("encode", 0.0)))
    working = worst.share(worst.busy or worst.seconds.get("encode", 0.0))
    if working >= _ENOUGH or (worst.device == "cpu" and not worst.loaders):
        return f"{worst.device} was at work {working:.0%} of the time: it is the limit."
    waited, held = worst.share(worst.seconds.get("wait", 0.0)), worst.share(worst.seconds.get("held", 0.0))
    if worst.elapsed < _SHORT:
        return f"{worst.device} was at work {working:.0%} of {worst.elapsed:.1f} s: too short a run to judge."
    if held > max(waited, 0.05):
        return f"{worst.device} waited {held:.0%} of the time for the writer: the disk of OUT is the limit."
    if waited > 0.05:
        return f"{worst.device} waited {waited:.0%} of the time for tokens: {_feeding(worst)}"
    return f"{worst.device} was at work {working:.0%} of the time and waited for nothing: batches may be too small."


def _feeding(worst: WorkerStats) -> str:
    """Say what keeps tokens from coming, and what to do."""
    if worst.share(worst.seconds.get("read", 0.0)) > _ENOUGH:
        return "reading is the limit; Parquet on a faster disk would help."
    needed = math.ceil(worst.loaders / max(1 - worst.share(worst.seconds.get("wait", 0.0)), 0.1))
    fast = " or install embed-corpus[fast]" if worst.lane == "tokenizers" else ""
    if needed <= worst.cores:
        return f"tokenizer-bound; use --loader-workers {needed}{fast}."
    return f"tokenizer-bound with all {worst.cores} cores; more cores a GPU would help{fast and ',' + fast}."
