"""What there is to know of a model: what its files say, and how it runs here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.chunk.tokenizer import WordTokenizer, tokenizer_of
from embed_corpus.job.devices import resolve_devices, resolve_precision
from embed_corpus.job.fingerprint import weight_files
from embed_corpus.job.fits import check_fit
from embed_corpus.job.recipe import resolve_chunk_tokens
from embed_corpus.model.facts import ModelFacts, read_facts
from embed_corpus.model.folder import model_folder
from embed_corpus.model.matryoshka import resolve_dim
from embed_corpus.store.cache import keep_kernels

if TYPE_CHECKING:
    from embed_corpus.job.options.model import Precision

__all__ = ["ModelDescription", "describe_model"]

_PROBES = [f"Text {i}: the boundary layer, über die Brücke, ветер дует с моря, 风从海上吹来." for i in range(50)]  # noqa: RUF001
"""A fast tokenizer has to get these right here; a run proves it on the corpus."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a model is, and how it runs here.

    Attributes:
        folder: where its files lie.
        family: its architecture.
        pooling: how a text's token states become its vector; `include_prompt`: the prompt's among them.
        modules: what a text goes through, in order.
        dimensions: numbers of a vector; `normalized`: of unit length; `similarity`: how vectors are compared.
        max_tokens: tokens of a text at most, `special_tokens` of them the model's own.
        document_prompt, query_prompt: what is put before texts; `prompts`: all that its files name.
        tokenizer: its kind; `tokenizer_lane`: what tokenises.
        device, precision: what it was loaded on, and in.
        path: packed or padded; `layers`: what computes them; `causal`: a token sees only those before it.
        notes: what the self-test found.
        parameters: all of them, and those outside of embedding tables.
        chunk_tokens: tokens of a chunk by default; `flops_per_token`: in texts of so many tokens.
    """

    folder: str
    family: str
    pooling: str
    include_prompt: bool
    modules: list[str]
    dimensions: int
    normalized: bool
    similarity: str
    max_tokens: int
    special_tokens: int
    document_prompt: str
    query_prompt: str
    prompts: dict[str, str]
    tokenizer: str
    tokenizer_lane: str
    device: str
    precision: str
    path: str
    layers: str
    causal: bool
    notes: list[str]
    parameters: int
    parameters_outside_tables: int
    chunk_tokens: int
    flops_per_token: float

    def to_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return what the command prints."""
        others = [name for name, text in self.prompts.items() if text]
        prompts = f"document {self.document_prompt!r}, query {self.query_prompt!r}"
        unit = "unit length" if self.normalized else "not normalised"
        sees = "causal" if self.causal else "bidirectional"
        tables = self.parameters - self.parameters_outside_tables
        rows = {
            "model": self.folder,
            "family": f"{self.family}, {sees}",
            "modules": ", ".join(self.modules) + ("" if self.include_prompt else "; prompts are left out of pooling"),
            "vectors": f"{self.dimensions} dimensions, {unit}, compared by {self.similarity}",
            "limit": f"{self.max_tokens:,} tokens, {self.special_tokens} of them special",
            "prompts": prompts + (f"; named: {', '.join(others)}" if others else ""),
            "tokenizer": f"{self.tokenizer}, by {self.tokenizer_lane}",
            "path": f"{self.path}: {self.layers}; {self.precision} on {self.device}",
            "parameters": f"{self.parameters / 1e6:,.1f} M, {tables / 1e6:,.1f} M of them in embedding tables",
            "FLOPs": f"{self.flops_per_token / 1e6:,.1f} M a token, in texts of {self.chunk_tokens} tokens",
        }
        notes = [f"note: {note}" for note in self.notes]
        return [*(f"{name:<11} {text}" for name, text in rows.items()), *notes]


def describe_model(
    name: str | None = None,
    *,
    revision: str | None = None,
    pooling: str | None = None,
    trust_remote_code: bool = False,
    devices: str = "all",
    precision: Precision = "auto",
) -> ModelDescription:
    """Read a model's files, load it on the first of the devices and let it take the self-test.

    `name` is a folder or a hub id; None: the bundled MiniLM. The rest is as in `JobConfig`.

    Raises:
        ModelError, UsageError: as `run` does.
    """
    keep_kernels()
    device = resolve_devices(devices)[0]
    folder = model_folder(name, revision, code=trust_remote_code)
    facts = resolve_dim(read_facts(folder, pooling, remote_code=trust_remote_code), None, forced=False)
    weight_files(facts)
    tokenizer = tokenizer_of(facts)
    return ModelDescription(
        folder=str(facts.folder),
        family=facts.family,
        pooling=facts.pooling,
        include_prompt=facts.include_prompt,
        modules=_modules(facts),
        dimensions=facts.dim,
        normalized=facts.normalize,
        similarity=facts.similarity,
        max_tokens=facts.max_tokens,
        special_tokens=len(tokenizer.prefix) + len(tokenizer.suffix),
        document_prompt=facts.document_prompt,
        query_prompt=facts.query_prompt,
        prompts=facts.prompts,
        tokenizer=tokenizer.kind,
        tokenizer_lane=tokenizer.prove(_PROBES),
        **_loaded(facts, tokenizer, device, resolve_precision(precision, device, facts.family)),
    )


def _modules(facts: ModelFacts) -> list[str]:
    adapted = f" with a LoRA adapter of rank {facts.adapter.rank}" if facts.adapter else ""
    names = ["StaticEmbedding"] if facts.table else [f"Transformer{adapted}", f"Pooling ({facts.pooling})"]
    for dense in facts.dense:
        names += ["Normalize"] if dense.of_units else []
        names.append(f"Dense {dense.n_in} → {dense.n_out} ({dense.activation})")
    names += ["Normalize"] if facts.normalize else []
    return [*names, f"for queries: {' + '.join(_modules(facts.queries))}"] if facts.queries else names


def _loaded(facts: ModelFacts, tokenizer: WordTokenizer, device: str, precision: Any) -> dict[str, Any]:
    from embed_corpus.engine.loaded import LoadedModel
    from embed_corpus.engine.ready import get_ready

    chunk_tokens = resolve_chunk_tokens(None, facts)
    model = LoadedModel(facts, device, precision, chunk_tokens)
    check_fit(tokenizer, facts, model.known_ids)
    encoder, notes, _ = get_ready(model)
    return {
        "device": device,
        "precision": precision,
        "path": "padded" if encoder.padded else "packed",
        "layers": encoder.forward.name,
        "causal": model.arithmetic.causal,
        "notes": list(notes),
        "parameters": sum(weight.numel() for weight in model.module.parameters()),
        "parameters_outside_tables": model.arithmetic.n_parameters,
        "chunk_tokens": chunk_tokens,
        "flops_per_token": model.arithmetic.flops(np.array([chunk_tokens])) / chunk_tokens,
    }
