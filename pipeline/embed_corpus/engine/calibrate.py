"""Find the token budget: the smallest at which the device is busy, or the largest that fits."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from embed_corpus import __version__
from embed_corpus.engine.ceiling import matrix_rate
from embed_corpus.errors import ModelError
from embed_corpus.feed.packing import make_batch
from embed_corpus.store.cache import cache_folder, keep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embed_corpus.data import Batch
    from embed_corpus.engine.forward import Forward
    from embed_corpus.engine.runner import Runner
    from embed_corpus.model.facts import ModelFacts

__all__ = ["Calibration", "calibrate", "recalled", "remember"]

log = logging.getLogger("embed_corpus")

FIRST, LAST = 4096, 1 << 18
_GAIN = 1.02
"""A doubled budget must bring 2 % at least."""
_LAUNCHING = 1 / 3
"""A batch shall keep the device busy three times as long as it takes to launch: that thread has more to do, and
shares the interpreter with those that read, pack and write."""
_SHARE = 0.9
"""Share of the device's free memory that a batch may take."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured of layers on their device.

    Attributes:
        budget: tokens of a batch.
        peak: bytes that such a batch takes beside the model.
        rate: tokens/s of such batches; 0 if unknown.
        matrix_rate: FLOP/s of a large matrix product there; 0 if unknown.
    """

    budget: int
    peak: int = 0
    rate: float = 0.0
    matrix_rate: float = 0.0


def calibrate(run: Runner, forward: Forward) -> Calibration:
    """Find the token budget for some layers on a GPU: remembered, else measured in a few seconds.

    The budget doubles from 4,096 (or the longest text) until that gains less than 2 % and launching takes less
    than a third of the time, or until the line through the measured peaks says that the next step
    passes 90 % of the free memory.

    Raises:
        ModelError: not even the longest text fits.
    """
    with _locked(_file_of(run)) as file:  # one calibration a job, not one a worker
        known, free = _recall(file, run.longest, forward.name), _free_memory(run)
        if known is not None and known.peak <= _SHARE * free:
            return known
        begin = time.perf_counter()
        budget, seen = _search(run, forward, free)
        log.info(
            "%s: batches of %d tokens, %.1f GiB (measured in %.0f s: %s; in brackets the time to launch)",
            run.device,
            budget,
            seen[budget].peak / 2**30,
            time.perf_counter() - begin,
            ", ".join(f"{tokens:,}: {s.rate:,.0f} tokens/s ({s.launching:.0%})" for tokens, s in seen.items()),
        )
        found = Calibration(budget, seen[budget].peak, seen[budget].rate, matrix_rate(run.device))
        _write(file, asdict(found) | {"layers": forward.name})
        return found


def recalled(facts: ModelFacts, device: str, precision: str, longest: int) -> Calibration | None:
    """Return what is noted of such an encoder, before there is one; None: nothing."""
    return _recall(_cache_file(facts, torch.device(device), precision, longest), longest)


def remember(run: Runner, layers: str, budget: int) -> None:
    """Note a budget that had to be lowered, for the runs of a day: what was short may have been someone else."""
    with _locked(_file_of(run)) as file:
        until = time.time() + 86_400
        _write(file, {"budget": budget, "peak": 0, "until": until, "layers": layers})


@dataclass(frozen=True, slots=True)
class _Seen:
    """Batches of one size: tokens/s, the share of the time that launching them took, the peak bytes."""

    rate: float
    launching: float
    peak: int


def _search(run: Runner, forward: Forward, free: int) -> tuple[int, dict[int, _Seen]]:
    """Return the budget, and what was seen of every budget tried."""
    seen: dict[int, _Seen] = {}
    tokens, end = max(FIRST, run.longest), max(LAST, run.longest)
    while tokens <= end:
        now = _try(run, forward, tokens)
        if now is None and not seen and tokens > run.longest:
            end = tokens = max(tokens // 2, run.longest)
            continue
        if now is None:
            break
        seen[tokens] = now
        half = seen.get(tokens // 2)
        if half and now.rate < (_GAIN if half.launching < _LAUNCHING else 1 / _GAIN) * half.rate:
            return tokens // 2, seen
        if (3 * now.peak - 2 * half.peak if half else 2 * now.peak) > _SHARE * free:
            break
        tokens *= 2
    if not seen:
        raise ModelError(
            f"{run.device} has too little memory for one chunk of {run.longest} tokens: "
            "use shorter --chunk-tokens, or --precision fp16."
        )
    return max(seen), seen


def _try(run: Runner, forward: Forward, tokens: int) -> _Seen | None:
    try:
        return _measure(run, forward, tokens)
    except torch.OutOfMemoryError:
        pass  # its tensors are let go of only behind this block
    torch.cuda.empty_cache()
    return None


def _measure(run: Runner, forward: Forward, tokens: int) -> _Seen:
    """Run batches of `tokens`; 0.2 s at least are timed."""
    batch = _full_batch(run, tokens)
    before = torch.cuda.memory_allocated(run.device)
    torch.cuda.reset_peak_memory_stats(run.device)
    run.run(batch, forward)
    torch.cuda.synchronize(run.device)
    best = launch = math.inf
    n = 1
    for _ in range(4):
        begin = time.perf_counter()
        run.run(batch, forward)
        launch = min(launch, time.perf_counter() - begin)
        for _ in range(n - 1):
            run.run(batch, forward)
        torch.cuda.synchronize(run.device)
        taken = time.perf_counter() - begin
        best = min(best, taken / n)
        n = max(1, int(0.1 * n / taken))
    peak = torch.cuda.max_memory_allocated(run.device) - before
    return _Seen(tokens / best, launch / best, peak)


def _full_batch(run: Runner, tokens: int) -> Batch:
    """Make a batch of texts of the greatest length, and one shorter."""
    full, rest = divmod(tokens, run.longest)
    lengths = np.array([run.longest] * full + ([rest] if rest else []), np.int32)
    return make_batch(np.full(tokens, 7, np.int32), lengths, tokens)


def _free_memory(run: Runner) -> int:
    """Bytes that this process could still take, with what it holds but does not use, and its own limit."""
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(run.device)
    allowed = torch.cuda.get_per_process_memory_fraction(run.device) * total
    return int(min(free, allowed - torch.cuda.memory_allocated(run.device)))


def _file_of(run: Runner) -> Path:
    return _cache_file(run.facts, run.device, run.precision, run.longest)


def _cache_file(facts: ModelFacts, device: torch.device, precision: str, longest: int) -> Path:
    import transformers

    weights = [(f.name, f.stat().st_size) for f in sorted(facts.weights.glob("*.safetensors"))]
    key: dict[str, Any] = {
        "model": [facts.told, weights],
        "device": [torch.cuda.get_device_name(device), torch.cuda.mem_get_info(device)[1]],
        "precision": precision,
        "longest": longest,
        "versions": [__version__, torch.__version__, transformers.__version__, torch.version.cuda],
    }
    name = blake2b(json.dumps(key).encode(), digest_size=16).hexdigest()
    return cache_folder() / "budgets" / f"{name}.json"


@contextmanager
def _locked(file: Path) -> Iterator[Path | None]:
    """Hold a lock beside a cache file; without a place to write there is no cache, and None."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.with_suffix(".lock").open("w")
        with suppress(OSError):  # a file system without locks: every worker measures
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        yield None
        return
    with lock:
        yield file


def _recall(file: Path | None, longest: int, layers: str = "") -> Calibration | None:
    """Return what is noted, of such layers if they are named.

    None also if it makes no sense or had to be lowered more than a day ago.
    """
    try:
        known = json.loads(file.read_text(encoding="ascii")) if file else None
        if known is None or known.get("until", math.inf) < time.time() or layers not in ("", known["layers"]):
            return None
        rates = (float(known.get(name, 0.0)) for name in ("rate", "matrix_rate"))
        found = Calibration(int(known["budget"]), int(known["peak"]), *rates)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    return found if longest <= found.budget <= max(LAST, longest) and found.peak >= 0 else None


def _write(file: Path | None, content: dict[str, Any]) -> None:
    if file is not None:
        keep(file, json.dumps(content))
