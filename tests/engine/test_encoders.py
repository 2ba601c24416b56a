"""The table of encoders: a device's name chooses, and another kind is one more entry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embed_corpus.engine.base import EncoderSpec
from embed_corpus.engine.encoders import ENCODERS, load_encoder, lost_device, noted_rate
from embed_corpus.model.facts import read_facts


@pytest.fixture
def spec(tiny_model: Path) -> EncoderSpec:
    """A model on the CPU."""
    return EncoderSpec("cpu", read_facts(tiny_model), "fp32", longest=32, token_budget=512, cores=1)


def test_local(spec: EncoderSpec) -> None:
    """The model on a device of this machine: what it tells of itself is what a run's report and a worker go by."""
    loaded = load_encoder(spec)
    ready = loaded.ready(list)
    encoder = ready.encoder
    assert loaded.known_ids == 2000
    assert (ready.token_budget, encoder.batch_tokens, encoder.ahead, ready.notes) == (512, 512, 0, ())
    assert {"torch", "layers", "device"} <= encoder.numerics.keys()
    assert (ready.rate, ready.matrix_rate, ready.watch()()) == (0.0, 0.0, None)


@pytest.mark.parametrize("device", ["http://localhost:8000/v1", "http:8"])
def test_another_kind(spec: EncoderSpec, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """What stands before the colon names the entry; it gets the whole specification."""
    loaded: Any = object()
    kind = ENCODERS["cpu"]._replace(load=lambda asked: (loaded, asked), noted_rate=lambda _: 7.0)
    monkeypatch.setitem(ENCODERS, "http", kind)
    there = EncoderSpec(device, spec.facts, "fp32")
    assert load_encoder(there) == (loaded, there)
    assert noted_rate(there) == 7.0


@pytest.mark.parametrize(
    ("message", "lost"),
    [("CUDA error: an illegal memory access was encountered", True), ("shapes do not match", False)],
)
def test_lost_device(spec: EncoderSpec, message: str, lost: bool) -> None:
    """After a CUDA error nothing more comes of that context; any other error is an error of ours."""
    assert lost_device(spec, RuntimeError(message)) == lost
