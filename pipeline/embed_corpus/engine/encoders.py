"""The encoders there are, by the beginning of a device's name: another kind is another entry here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from embed_corpus.engine.base import EncoderSpec, Loaded

__all__ = ["ENCODERS", "load_encoder", "lost_device", "noted_rate"]


class _Kind(NamedTuple):
    """One kind of encoder.

    Attributes:
        load: makes one.
        noted_rate: tokens/s that are noted of such a one beforehand; 0 if it is known but its speed is not, else None.
        lost: tells whether an error means that its device will not come back in this process.
    """

    load: Callable[[EncoderSpec], Loaded]
    noted_rate: Callable[[EncoderSpec], float | None]
    lost: Callable[[RuntimeError], bool]


def _load_local(spec: EncoderSpec) -> Loaded:
    from embed_corpus.engine.local import LocalModel  # torch takes seconds

    return LocalModel(spec)


def _rate_of_local(spec: EncoderSpec) -> float | None:
    from embed_corpus.engine.calibrate import recalled

    known = recalled(spec.facts, spec.device, spec.precision, spec.longest or spec.facts.max_tokens)
    return known.rate if known else None


def _lost_context(error: RuntimeError) -> bool:
    """Tell whether a CUDA context is lost: after such an error every later call in it fails."""
    return any(sign in str(error) for sign in ("CUDA error", "CUBLAS_STATUS", "Triton Error [CUDA]"))


_LOCAL = _Kind(_load_local, _rate_of_local, _lost_context)
ENCODERS = {"cpu": _LOCAL, "cuda": _LOCAL}


def load_encoder(spec: EncoderSpec) -> Loaded:
    """Load the encoder that a specification asks for.

    Raises:
        ModelError: it cannot be loaded.
    """
    return _kind_of(spec).load(spec)


def noted_rate(spec: EncoderSpec) -> float | None:
    """Return the tokens/s that are noted of such an encoder, before there is one; None: it was never measured."""
    return _kind_of(spec).noted_rate(spec)


def lost_device(spec: EncoderSpec, error: RuntimeError) -> bool:
    """Tell whether an error of such an encoder means that its device will not come back in this process."""
    return _kind_of(spec).lost(error)


def _kind_of(spec: EncoderSpec) -> _Kind:
    return ENCODERS[spec.device.partition(":")[0]]
