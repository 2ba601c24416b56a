"""The model on a device of this machine, as an encoder of a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from embed_corpus.engine.base import EncoderSpec, ReadyEncoder
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.engine.ready import check_fp8, get_ready
from embed_corpus.engine.utilization import Utilization

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LocalModel"]


class LocalModel:
    """A model whose weights are on their device."""

    def __init__(self, spec: EncoderSpec) -> None:
        if spec.cores is not None:
            torch.set_num_threads(spec.cores if spec.device == "cpu" else min(spec.cores, 4))
        self._spec = spec
        self._model = LoadedModel(spec.facts, spec.device, spec.precision, spec.longest)

    @property
    def known_ids(self) -> int | None:
        """Rows of the embedding table."""
        return self._model.known_ids

    def ready(self, sample: Callable[[], Sequence[NDArray[np.int32]]]) -> ReadyEncoder:
        """Choose its path and token budget, and judge fp8 on the sample."""
        spec = self._spec
        encoder, notes, calibration = get_ready(self._model, spec.token_budget, compiled=spec.compiled)
        if spec.precision == "fp8":
            notes = (*notes, check_fp8(self._model, encoder, sample(), forced=spec.force_fp8))
        return ReadyEncoder(
            encoder,
            notes,
            encoder.token_budget,
            rate=calibration.rate if calibration else 0.0,
            matrix_rate=calibration.matrix_rate if calibration else 0.0,
            late_chunking=not encoder.padded,
            watch=partial(_watch, encoder.runner.device),
        )


def _watch(device: torch.device) -> Callable[[], float | None]:
    if device.type != "cuda":
        return lambda: None
    return Utilization(f"GPU-{torch.cuda.get_device_properties(device).uuid}").mean
