"""Ids to the device and vectors back, beside the layers of other batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from embed_corpus.engine.base import BUSY

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from embed_corpus.engine.packed import Packed

__all__ = ["STEPS", "Sent", "Streams", "upload"]

STEPS = ("copy in", BUSY, "copy out")
"""What a GPU does with a batch, each on a stream of its own."""


@dataclass(frozen=True, slots=True)
class Sent:
    """Vectors on their way to the host.

    Attributes:
        vectors: float32[n, dim] on the host; there when the last mark has passed.
        marks: the begin and the end of each of the `STEPS`; empty: the vectors are there.
    """

    vectors: torch.Tensor
    marks: tuple[torch.cuda.Event, ...] = ()

    def wait(self) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Wait for the vectors; returns them and the GPU's seconds for each of the `STEPS`."""
        if not self.marks:
            return self.vectors.numpy(), {}
        self.marks[-1].synchronize()
        steps = zip(STEPS, self.marks[::2], self.marks[1::2], strict=True)
        return self.vectors.numpy(), {step: begin.elapsed_time(end) / 1000 for step, begin, end in steps}


class Streams:
    """The streams of a GPU by which ids come in and vectors go out.

    Pinned memory comes from torch's own pool, which gives a buffer out again when its copy has passed.
    """

    def __init__(self, device: torch.device) -> None:
        self._main = torch.cuda.current_stream(device)
        self._in, self._out = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]

    def send(self, bring: Callable[[], Packed], work: Callable[[Packed], torch.Tensor]) -> Sent:
        """Set a batch going: `bring` copies it to the GPU, `work` makes vectors of it, which are copied back."""
        marks = tuple(torch.cuda.Event(enable_timing=True) for _ in range(2 * len(STEPS)))  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._in):
            marks[0].record()
            packed = bring()
            marks[1].record()
        self._main.wait_event(marks[1])
        # Before anything can fail: kernels under way may read it still when its memory is given back.
        packed.ids.record_stream(self._main)
        marks[2].record()
        vectors = work(packed)
        marks[3].record()
        with torch.cuda.stream(self._out):
            self._out.wait_event(marks[3])
            marks[4].record()
            host = torch.empty(vectors.shape, dtype=torch.float32, pin_memory=True)
            host.copy_(vectors, non_blocking=True)
            vectors.record_stream(self._out)
            marks[5].record()
        return Sent(host, marks)


def upload(arrays: dict[str, NDArray[np.int32]], device: torch.device) -> dict[str, torch.Tensor]:
    """Bring arrays of int32 to a device in one copy, from pinned memory on a GPU; all share one storage."""
    # Sections begin at multiples of 64 bytes: kernels are built once for aligned addresses, not for each.
    begins = np.cumsum([0, *(-(-a.size // 16) * 16 for a in arrays.values())]).tolist()
    host = torch.empty(begins[-1], dtype=torch.int32, pin_memory=device.type == "cuda")
    flat = host.numpy()
    for begin, array in zip(begins, arrays.values(), strict=False):
        flat[begin : begin + array.size] = array.reshape(-1)
    there = host.to(device, non_blocking=True)
    return {
        name: there[begin : begin + array.size].view(array.shape)
        for begin, (name, array) in zip(begins, arrays.items(), strict=False)
    }
