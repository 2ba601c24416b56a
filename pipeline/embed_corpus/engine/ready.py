"""From a loaded model to an encoder that is ready for its first batch: self-test, token budget, and what fp8 costs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from embed_corpus.engine import ops
from embed_corpus.engine.calibrate import FIRST, Calibration, calibrate, remember
from embed_corpus.engine.encoder import LocalEncoder
from embed_corpus.engine.forward import ModelLayers, tile_rows_of
from embed_corpus.engine.selftest import probe, self_test
from embed_corpus.engine.table import TABLE_BUDGET
from embed_corpus.errors import ModelError
from embed_corpus.feed.packing import CPU_BUDGET, MIN_TOKENS, Packer, pack_all
from embed_corpus.vectors.loss import neighbours_kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.engine.loaded import LoadedModel

__all__ = ["Outcome", "check_fp8", "fp8_loss", "get_ready"]

PADDED_BUDGET = 32_768
"""Tokens of a pass on a GPU where texts are padded."""
FP8_COSINE, FP8_OVERLAP = 0.95, 0.8
"""Least mean cosine, and least share of the 10 nearest neighbours kept, that fp8 passes with unforced."""


class Outcome(NamedTuple):
    """What getting ready came to: the encoder, what its user should know, and what was measured of it, if anything."""

    encoder: LocalEncoder
    notes: tuple[str, ...]
    calibration: Calibration | None


def get_ready(model: LoadedModel, token_budget: int | None = None, *, compiled: bool = True) -> Outcome:
    """Choose a model's path by the self-test, find its token budget, and make an encoder of it.

    `token_budget` None: measured on a GPU, 1,024 on a CPU. Not `compiled`: transformers' own layers as they are.

    Raises:
        ModelError: the device cannot hold the longest text; the model fails on padded texts too, or
            needs them and fp8 was asked for.
    """
    run = model.runner
    forward = model.packed(compiled=compiled)
    if run.facts.table:
        return Outcome(LocalEncoder(model, forward, token_budget or TABLE_BUDGET), (), None)
    notes = []
    cuda = run.device.type == "cuda"
    if cuda and (reason := ops.why_no_kernels()):
        notes.append(f"slower than it could be: {reason}, so kernels cannot be built")
    shape = max(FIRST, run.longest) if cuda else MIN_TOKENS
    test = self_test(model, LocalEncoder(model, forward, CPU_BUDGET), shape)
    calibration = calibrate(run, forward) if token_budget is None and cuda and not test.problem else None
    if calibration is not None:
        token_budget = calibration.budget
    budget = max(token_budget or (PADDED_BUDGET if cuda else CPU_BUDGET), run.longest)
    if test.problem:
        forward = model.padded(budget)
        notes.append(f"texts are padded, which is slower: {test.problem}")
    encoder = LocalEncoder(
        model, forward, budget, remember=partial(remember, run, forward.name) if calibration is not None else None
    )
    try:
        same = not (cuda or test.problem) or np.array_equal(probe(model, encoder, shape), probe(model, encoder, budget))
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        kind = model.module.config.model_type
        raise ModelError(f"architecture {kind!r} is not supported: even padded texts fail ({error}).") from error
    if not same or not (test.exact or test.problem):
        notes.append("vectors are not bit-reproducible here: a text's bits depend on the texts around it")
    return Outcome(encoder, tuple(notes), calibration)


def fp8_loss(
    model: LoadedModel, encoder: LocalEncoder, chunks: Sequence[NDArray[np.int32]]
) -> tuple[float, float, float]:
    """Embed chunks (ids each) in fp8 and in bf16: mean and least cosine, overlap of the 10 nearest neighbours."""
    run = model.runner
    plain = ModelLayers(model.module, tile_rows_of(model.module.config, run.device, run.longest))
    packer = Packer(max(FIRST, run.longest), static=True)  # small: both forms of the weights are in memory
    batches = pack_all(packer, chunks)
    ours = np.concatenate([run.run(batch, encoder.forward).cpu().numpy() for batch in batches])
    theirs = np.concatenate([run.run(batch, plain).cpu().numpy() for batch in batches])
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (ours, theirs))
    cosine = (a * b).sum(1)
    return float(cosine.mean()), float(cosine.min()), neighbours_kept(a @ a.T, b @ b.T)


def check_fp8(model: LoadedModel, encoder: LocalEncoder, chunks: Sequence[NDArray[np.int32]], *, forced: bool) -> str:
    """Say what fp8 costs on a sample of the user's own texts.

    Raises:
        ModelError: too much, and not forced.
    """
    if not chunks:
        return "fp8: nothing to judge it on at the beginning of the input"
    mean, least, overlap = fp8_loss(model, encoder, chunks)
    seen = (
        f"fp8 against bf16 over {len(chunks)} chunks: cosine {mean:.4f} (least {least:.4f}), "
        f"neighbours@10 {overlap:.0%}"
    )
    if not forced and (not mean >= FP8_COSINE or not overlap >= FP8_OVERLAP):
        raise ModelError(
            f"{seen}: less than {FP8_COSINE} or {FP8_OVERLAP:.0%}. "
            "Use --precision bf16, or --force-fp8 to go on all the same."
        )
    return seen
