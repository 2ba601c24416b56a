"""Encoders on the CPU that nobody tried out: they take the path they are told to take."""

from __future__ import annotations

from embed_corpus.engine.encoder import LocalEncoder, untested
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.engine.ready import get_ready
from embed_corpus.model.facts import ModelFacts


def loaded_on_cpu(facts: ModelFacts, precision: str = "fp32", longest: int | None = None) -> LoadedModel:
    """A model's weights on the CPU."""
    return LoadedModel(facts, "cpu", precision, longest)


def on_cpu(
    facts: ModelFacts,
    precision: str = "fp32",
    longest: int | None = None,
    *,
    token_budget: int = 1024,
    padded: bool = False,
    compiled: bool = True,
) -> LocalEncoder:
    """A model on the CPU, packed or padded."""
    model = loaded_on_cpu(facts, precision, longest)
    return untested(model, token_budget=token_budget, padded=padded, compiled=compiled)


def ready_on_cpu(
    facts: ModelFacts, precision: str = "fp32", *, token_budget: int | None = None, compiled: bool = True
) -> LocalEncoder:
    """A model on the CPU, on the path that is found right for it."""
    return get_ready(loaded_on_cpu(facts, precision), token_budget, compiled=compiled).encoder
