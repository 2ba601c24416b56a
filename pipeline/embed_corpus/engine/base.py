"""What gives batches their vectors, as the pipeline sees it: a model on a device here, or a server elsewhere.

`encoders.py` has the table of those there are. Nothing here, or in what uses it, needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.data import Batch
    from embed_corpus.feed.packing import Packer
    from embed_corpus.model.facts import ModelFacts

__all__ = ["BUSY", "Encoder", "EncoderSpec", "Loaded", "Pending", "ReadyEncoder"]

BUSY = "forward"
"""The step of `Pending.seconds` in which a device works on a batch; others bring it there and back."""


class Pending(Protocol):
    """Vectors of a batch on their way."""

    @property
    def flops(self) -> float:
        """The model's arithmetic for the batch; 0 where nobody knows."""
        ...

    @property
    def seconds(self) -> Mapping[str, float]:
        """What the device spent on the batch, by step, once `result` has returned; empty where it is not timed."""
        ...

    def result(self) -> NDArray[np.float32]:
        """Wait for the vectors, float32[n_chunks, dim].

        Raises:
            ModelError: they will not come, whatever is tried.
            RuntimeError: they did not come; the kind's entry in `ENCODERS` tells whether its device is lost. Never a
                ConnectionError: a worker takes that for its parent's end.
        """
        ...


class Encoder(Protocol):
    """Gives batches their vectors: three methods, and three values that it tells of itself."""

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch as it wants them now; may sink between batches."""
        ...

    @property
    def ahead(self) -> int:
        """Batches to submit before the vectors of the first are asked for; 0: `submit` does all the work itself."""
        ...

    @property
    def numerics(self) -> dict[str, Any]:
        """Everything that can change a vector's bits, but the token budget: bits do not depend on it."""
        ...

    def packer(self) -> Packer:
        """Return a packer that makes batches as this encoder wants them."""
        ...

    def submit(self, batch: Batch) -> Pending:
        """Set a batch going.

        Raises:
            ModelError: it cannot be embedded here, not even in smaller pieces.
        """
        ...

    def close(self) -> None:
        """Let go of the device or the connections; nothing may be submitted any more."""
        ...


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Which encoder, as plain values.

    Attributes:
        device: "cpu", "cuda:0", …; what stands before a colon chooses the entry of `encoders.ENCODERS`.
        facts: the model.
        precision: "fp32", "fp16", "bf16" or "fp8".
        longest: most tokens that a text of the job may have; None: the model's limit.
        token_budget: tokens of a batch; None: the encoder finds out.
        compiled: layers may be fused or compiled.
        force_fp8: fp8 passes, whatever it costs.
        cores: of this machine that the encoder may use; None: those that the process uses anyway.
    """

    device: str
    facts: ModelFacts
    precision: str
    longest: int | None = None
    token_budget: int | None = None
    compiled: bool = True
    force_fp8: bool = False
    cores: int | None = None


def _unwatched() -> float | None:
    return None


@dataclass(frozen=True, slots=True)
class ReadyEncoder:
    """An encoder that is ready for its first batch, and what there is to tell of it.

    Attributes:
        encoder: as it is.
        notes: what its user should know.
        token_budget: tokens of one pass.
        rate: tokens/s that it was seen to embed; 0 if that was not measured.
        matrix_rate: FLOP/s of a large matrix product on its device; 0 if that was not measured.
        late_chunking: it can take several chunks of a document as one text, and give each its vector.
        watch: begins to watch how busy the device is; what it returns ends that and gives the mean share, 0 to 1, or
            None if nobody can tell.
    """

    encoder: Encoder
    notes: tuple[str, ...] = ()
    token_budget: int = 0
    rate: float = 0.0
    matrix_rate: float = 0.0
    late_chunking: bool = True
    watch: Callable[[], Callable[[], float | None]] = lambda: _unwatched


class Loaded(Protocol):
    """An encoder that is there, but not tried out yet."""

    @property
    def known_ids(self) -> int | None:
        """How many token ids it knows, from 0 on; None: nobody can tell."""
        ...

    def ready(self, sample: Callable[[], Sequence[NDArray[np.int32]]]) -> ReadyEncoder:
        """Try it out and measure it; `sample` gives the ids of some chunks of the user's own, if they are needed.

        Nothing else should run on the device meanwhile, or on the CPU if that is the device.

        Raises:
            ModelError: it cannot do what is asked of it.
        """
        ...
