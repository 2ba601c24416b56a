"""How fast models were on this machine before: noted at the end of a run or bench, read by plan.

One small JSON file in the cache folder for each model, precision, kind of device, chunk limit
and version of this package, and for each way of measuring: a whole run, or the model alone.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from embed_corpus import __version__
from embed_corpus.data.records import digest
from embed_corpus.errors import ModelError
from embed_corpus.job.devices import device_kind
from embed_corpus.job.fingerprint import weight_files
from embed_corpus.store.cache import cache_folder, keep

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from embed_corpus.model.facts import ModelFacts

__all__ = ["SHORT_RUN", "Rate", "known_rate", "note_rate", "predicted_seconds"]

SHORT_RUN = 10.0
"""Seconds: a run that embedded for less tells its start more than its speed, and is not noted."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What was measured on one device.

    Attributes:
        tokens_per_s: real tokens, special ones included, padding not.
        token_budget: tokens of a batch then.
        whole_run: reading, tokenising and writing are in it, not only the model.
    """

    tokens_per_s: float
    token_budget: int
    whole_run: bool


def note_rate(
    facts: ModelFacts,
    precision: str,
    device: str,
    chunk_tokens: int,
    tokens_per_s: float,
    token_budget: int,
    *,
    run_seconds: float | None = None,
) -> None:
    """Remember a speed; whatever keeps it from being written is ignored.

    `tokens_per_s` is that of one device ("cpu", "cuda:0"): a run on several divides. `run_seconds`
    is how long a whole run embedded (None: the model alone was measured); under `SHORT_RUN`
    nothing is noted.
    """
    whole_run = run_seconds is not None
    if not tokens_per_s > 0 or (run_seconds is not None and run_seconds < SHORT_RUN):
        return
    rate = Rate(tokens_per_s, token_budget, whole_run)
    with suppress(OSError, ModelError):  # a model that is gone by now: the run is done all the same
        keep(_file(facts, precision, device, chunk_tokens, whole_run=whole_run), json.dumps(asdict(rate)))


def known_rate(facts: ModelFacts, precision: str, device: str, chunk_tokens: int) -> Rate | None:
    """Return the speed of the last whole run, else that of the model alone, else None."""
    for whole_run in (True, False):
        try:
            known = json.loads(_file(facts, precision, device, chunk_tokens, whole_run=whole_run).read_text("ascii"))
            rate = Rate(float(known["tokens_per_s"]), int(known["token_budget"]), whole_run)
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            continue
        if rate.tokens_per_s > 0 and rate.token_budget > 0:
            return rate
    return None


def predicted_seconds(
    tokens: float, facts: ModelFacts, precision: str, devices: Sequence[str], chunk_tokens: int
) -> float | None:
    """Return how long the devices together will embed that many tokens; None if the speed of one is not known."""
    rates = [known_rate(facts, precision, device, chunk_tokens) for device in devices]
    known = [rate.tokens_per_s for rate in rates if rate is not None]
    return tokens / sum(known) if known and len(known) == len(rates) else None


def _file(facts: ModelFacts, precision: str, device: str, chunk_tokens: int, *, whole_run: bool) -> Path:
    """Name the file by all that decides the speed; weights by name and size, whose hash would cost minutes."""
    key = {
        "model": facts.told,
        "weights": [(file.name, file.stat().st_size) for file in weight_files(facts)],
        "precision": precision,
        "device": device_kind(device),
        "chunk_tokens": chunk_tokens,
        "version": __version__,
        "whole_run": whole_run,
    }
    return cache_folder() / "rates" / f"{digest(key)}.json"
