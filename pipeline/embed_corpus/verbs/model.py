"""What there is to know of a model: what its files say, and how it runs here."""

from __future__ import annotations

from typing import Any

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

__all__ = ["describe", "lines_of"]

_PROBES = [f"Text {i}: the boundary layer, über die Brücke, ветер дует с моря, 风从海上吹来." for i in range(50)]  # noqa: RUF001
"""A fast tokenizer has to get these right here; a run proves it on the corpus."""


def describe(
    name: str | None,
    *,
    revision: str | None = None,
    pooling: str | None = None,
    trust_remote_code: bool = False,
    devices: str = "all",
    precision: Any = "auto",
) -> dict[str, Any]:
    """Read a model's files, load it on the first of the devices and let it take the self-test.

    Raises:
        ModelError, UsageError: as `run` does.
    """
    keep_kernels()
    device = resolve_devices(devices)[0]
    folder = model_folder(name, revision, code=trust_remote_code)
    facts = resolve_dim(read_facts(folder, pooling, remote_code=trust_remote_code), None, forced=False)
    weight_files(facts)
    tokenizer = tokenizer_of(facts)
    return {
        "folder": str(facts.folder),
        "family": facts.family,
        "pooling": facts.pooling,
        "include_prompt": facts.include_prompt,
        "modules": _modules(facts),
        "dimensions": facts.dim,
        "normalized": facts.normalize,
        "similarity": facts.similarity,
        "max_tokens": facts.max_tokens,
        "special_tokens": len(tokenizer.prefix) + len(tokenizer.suffix),
        "document_prompt": facts.document_prompt,
        "query_prompt": facts.query_prompt,
        "prompts": facts.prompts,
        "tokenizer": tokenizer.kind,
        "tokenizer_lane": tokenizer.prove(_PROBES),
        **_loaded(facts, tokenizer, device, resolve_precision(precision, device, facts.family)),
    }


def _modules(facts: ModelFacts) -> list[str]:
    adapted = f" with a LoRA adapter of rank {facts.adapter.rank}" if facts.adapter else ""
    names = ["StaticEmbedding"] if facts.table else [f"Transformer{adapted}", f"Pooling ({facts.pooling})"]
    for dense in facts.dense:
        names += ["Normalize"] if dense.of_units else []
        names.append(f"Dense {dense.n_in} → {dense.n_out} ({dense.activation})")
    names += ["Normalize"] if facts.normalize else []
    return [*names, f"for queries: {' + '.join(_modules(facts.queries))}"] if facts.queries else names


def _loaded(facts: ModelFacts, tokenizer: WordTokenizer, device: str, precision: Any) -> dict[str, Any]:
    from embed_corpus.engine.ceiling import flops
    from embed_corpus.engine.encoder import Encoder
    from embed_corpus.engine.ready import get_ready

    chunk_tokens = resolve_chunk_tokens(None, facts)
    encoder = Encoder(facts, device, precision, chunk_tokens)
    check_fit(tokenizer, encoder)
    parameters = sum(weight.numel() for weight in encoder.model.parameters())
    notes = get_ready(encoder)
    return {
        "device": device,
        "precision": precision,
        "path": "padded" if encoder.padded else "packed",
        "layers": encoder.forward.name,
        "causal": encoder.causal,
        "notes": notes,
        "parameters": parameters,
        "parameters_outside_tables": encoder.n_parameters,
        "chunk_tokens": chunk_tokens,
        "flops_per_token": flops(encoder, np.array([chunk_tokens])) / chunk_tokens,
    }


def lines_of(told: dict[str, Any]) -> list[str]:
    """Write a description out for people."""
    others = [name for name, text in told["prompts"].items() if text]
    prompts = f"document {told['document_prompt']!r}, query {told['query_prompt']!r}"
    unit = "unit length" if told["normalized"] else "not normalised"
    sees = "causal" if told["causal"] else "bidirectional"
    tables = told["parameters"] - told["parameters_outside_tables"]
    rows = {
        "model": told["folder"],
        "family": f"{told['family']}, {sees}",
        "modules": ", ".join(told["modules"]) + ("" if told["include_prompt"] else "; prompts are left out of pooling"),
        "vectors": f"{told['dimensions']} dimensions, {unit}, compared by {told['similarity']}",
        "limit": f"{told['max_tokens']:,} tokens, {told['special_tokens']} of them special",
        "prompts": prompts + (f"; named: {', '.join(others)}" if others else ""),
        "tokenizer": f"{told['tokenizer']}, by {told['tokenizer_lane']}",
        "path": f"{told['path']}: {told['layers']}; {told['precision']} on {told['device']}",
        "parameters": f"{told['parameters'] / 1e6:,.1f} M, {tables / 1e6:,.1f} M of them in embedding tables",
        "FLOPs": f"{told['flops_per_token'] / 1e6:,.1f} M a token, in texts of {told['chunk_tokens']} tokens",
    }
    notes = [f"note: {note}" for note in told["notes"]]
    return [*(f"{name:<11} {text}" for name, text in rows.items()), *notes]
