"""Vectors that a device of this machine still works on."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from embed_corpus.engine.ceiling import Arithmetic
    from embed_corpus.engine.transfer import Sent

__all__ = ["LocalPending"]


@dataclass(slots=True)
class LocalPending:
    """Vectors of a batch on their way from the device.

    Attributes:
        pieces: what was sent, in order: more than one if the batch had to be split.
        arithmetic: of the model.
        lengths: tokens of the batch's texts.
        finish: what is still to be done to the joined vectors.
        seconds: the GPU's, by step, once `result` has returned; empty on a CPU.
    """

    pieces: list[Sent]
    arithmetic: Arithmetic
    lengths: NDArray[np.int32]
    finish: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def flops(self) -> float:
        """The model's arithmetic for the batch."""
        return self.arithmetic.flops(self.lengths)

    def result(self) -> NDArray[np.float32]:
        """Wait for the vectors, float32[n_chunks, dim]."""
        vectors, seconds = zip(*(piece.wait() for piece in self.pieces), strict=True)
        joined = vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
        for step, taken in chain.from_iterable(each.items() for each in seconds):
            self.seconds[step] = self.seconds.get(step, 0.0) + taken
        return self.finish(joined)
