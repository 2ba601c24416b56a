"""How busy the driver calls a GPU: the figure of `nvidia-smi`, sampled over a run."""

from __future__ import annotations

import ctypes
from threading import Event, Thread

__all__ = ["Utilization"]

_INTERVAL = 0.25
"""Seconds between samples; the driver itself averages over about as long."""


class _Share(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))  # percent


class Utilization:
    """Samples a GPU in a thread until it is asked for the mean.

    NVML comes with the driver and is called as it is. `uuid` is the GPU's, with "GPU-" before it.
    """

    def __init__(self, uuid: str) -> None:
        self._samples: list[int] = []
        self._stop = Event()
        self._thread = Thread(target=self._sample, args=(uuid,), name="utilization", daemon=True)
        self._thread.start()

    def mean(self) -> float | None:
        """End sampling and return the mean share, 0 to 1; None if the driver does not tell."""
        self._stop.set()
        self._thread.join()
        return sum(self._samples) / len(self._samples) / 100 if self._samples else None

    def _sample(self, uuid: str) -> None:
        try:
            nvml = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return
        device, share = ctypes.c_void_p(), _Share()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(device)):
            return
        while not self._stop.wait(_INTERVAL):
            if nvml.nvmlDeviceGetUtilizationRates(device, ctypes.byref(share)):
                return
            self._samples.append(share.gpu)
