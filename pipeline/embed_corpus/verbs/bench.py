"""Measure the model alone on this machine, and prove its bits."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from embed_corpus.chunk.recipe import ChunkRecipe
from embed_corpus.job.devices import resolve_devices, resolve_precision
from embed_corpus.job.fits import check_fit
from embed_corpus.job.recipe import resolve_chunk_tokens
from embed_corpus.job.speeds import note_rate
from embed_corpus.model.facts import read_facts
from embed_corpus.model.folder import model_folder
from embed_corpus.store.cache import keep_kernels
from embed_corpus.verbs.measure import Measured, first_of, made_up, measure, pack
from embed_corpus.verbs.reproduce import Comparison, digest_of, in_order, same_bits

if TYPE_CHECKING:
    from collections.abc import Callable

    from embed_corpus.engine.encoder import LocalEncoder
    from embed_corpus.job.config import JobConfig
    from embed_corpus.verbs.measure import Ids

__all__ = ["BenchReport", "Comparison", "Measured", "bench"]


@dataclass(frozen=True, slots=True)
class BenchReport:
    """How a model runs on this machine.

    Attributes:
        device, precision: on what it ran, and in what; `layers`: what computed them.
        token_budget: tokens of a batch.
        notes: what the self-test found.
        first_batch_s: seconds from the call to the end of the first batch.
        digest: sha256 of all vectors, in the order of the chunks.
        measured: what the timed passes saw; None if there were none.
        same_bits: what was compared, and whether the bits were the same; empty if nothing was.
    """

    device: str
    precision: str
    layers: str
    token_budget: int
    notes: tuple[str, ...]
    first_batch_s: float
    digest: str
    measured: Measured | None = None
    same_bits: dict[str, bool] = field(default_factory=dict)

    @property
    def differ(self) -> tuple[str, ...]:
        """The comparisons that found other bits."""
        return tuple(name for name, same in self.same_bits.items() if not same)

    def to_json(self) -> dict[str, Any]:
        """Return the fields, those of the measurement among them."""
        told = asdict(self)
        measured, same_bits = told.pop("measured"), told.pop("same_bits")
        return told | (measured or {}) | ({"same_bits": same_bits} if same_bits else {})

    def lines(self) -> list[str]:
        """Return what the command prints of the measurement."""
        lines = [
            *(f"note: {note}" for note in self.notes),
            f"{self.precision} on {self.device}, {self.layers}; batches of {self.token_budget:,} tokens",
            f"first batch {self.first_batch_s} s after the start",
        ]
        return lines + ([self.measured.line()] if self.measured else [])


def bench(
    config: JobConfig,
    tokens: int | None = None,
    rounds: int = 3,
    *,
    check_reproducible: bool = False,
    tell: Callable[[BenchReport | Comparison], object] | None = None,
) -> BenchReport:
    """Time the model of a job over chunks of its INPUT, or over made-up ones; reading and tokenising are not timed.

    The first of the devices is measured. A job without OUT, and without INPUT, will do: `JobConfig(model="…")`.

    Args:
        config: of it count model, text columns, chunk size, devices, precision, token budget and `compile`.
        tokens: of a pass; None: 2,000,000, or 20,000 on a CPU.
        rounds: timed passes, of which the median counts; 0: none.
        check_reproducible: compare the bits over orders, budgets and fresh processes.
        tell: called with the report as soon as the model was measured, then with each comparison.

    Raises:
        UsageError, ModelError, DataError: as `run` does.
    """
    begin = time.perf_counter()
    encoder, chunks, notes = _ready(config, tokens)
    batches, how = pack(encoder, chunks), encoder.runner
    encoder.encode(batches[0])
    first_batch_s = round(time.perf_counter() - begin, 1)
    digest = digest_of(in_order(encoder, chunks))
    measured = measure(encoder, batches, rounds) if rounds else None
    if measured and config.compile and config.batch_tokens is None:  # as a run does it: `plan` may go by it
        key = how.facts, how.precision, str(how.device), how.longest
        note_rate(*key, measured.tokens_per_s, encoder.token_budget)
    where = str(how.device), how.precision, encoder.forward.name, encoder.token_budget
    report = BenchReport(*where, notes, first_batch_s, digest, measured)
    tell = tell or (lambda _: None)
    tell(report)
    same = {}
    for comparison in same_bits(encoder, chunks, config, tokens) if check_reproducible else ():
        same[comparison.name] = comparison.same
        tell(comparison)
    return replace(report, same_bits=same)


def _ready(config: JobConfig, tokens: int | None) -> tuple[LocalEncoder, Ids, tuple[str, ...]]:
    """Load the model on the first of the devices and get chunks for it; also what the user should know."""
    keep_kernels()
    from embed_corpus.engine.loaded import LoadedModel
    from embed_corpus.engine.ready import check_fp8, get_ready

    device = resolve_devices(config.devices)[0]
    folder = model_folder(config.model, config.revision, code=config.trust_remote_code)
    facts = read_facts(folder, config.pooling, remote_code=config.trust_remote_code)
    recipe = ChunkRecipe.of_model(facts, resolve_chunk_tokens(config.chunk_tokens, facts))
    precision = resolve_precision(config.precision, device, facts.family)
    loaded = LoadedModel(facts, device, precision, recipe.longest)
    check_fit(recipe.tokenizer(), facts, loaded.known_ids)
    tokens = tokens or (20_000 if device == "cpu" else 2_000_000)
    if config.input:
        chunks = first_of(config, recipe, tokens)
    else:
        chunks = made_up(recipe.longest, tokens, loaded.module.config.vocab_size)
    encoder, notes, _ = get_ready(loaded, config.batch_tokens, compiled=config.compile)
    if config.precision == "fp8":
        notes = (*notes, check_fp8(loaded, encoder, chunks[:512], forced=True))
    return encoder, chunks, notes
