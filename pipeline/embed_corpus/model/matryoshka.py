"""Matryoshka dimensions: the first numbers of a vector are a vector of their own, where the model was trained so.

Kusupati et al., Matryoshka Representation Learning (2022), arXiv 2205.13147.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from embed_corpus.model.facts import ModelFacts

__all__ = ["at_dim", "declared_dims", "resolve_dim"]

_LISTS = ("matryoshka_dimensions", "matryoshka_dims")
"""Fields that list dimensions: the first in `config.json` (Jina's and Snowflake's models, read by vLLM), the second
beside it or in `config_sentence_transformers.json`."""
_QWEN3_LEAST = 32


def declared_dims(facts: ModelFacts) -> Sequence[int]:
    """Return the dimensions below its own that a model's files say its vectors may be cut to; empty if they say none.

    Qwen3-Embedding says so in its card alone (32 up to its own): it is told by its architecture, its
    last-token pooling and its instructed queries.
    """
    found: set[int] = set()
    for folder, name in ((facts.weights, "config.json"), (facts.folder, "config_sentence_transformers.json")):
        settings = _settings(folder, name)
        if settings.get("is_matryoshka") is True:
            return range(1, facts.dim)
        listed = [dim for key in _LISTS for dim in settings.get(key) or ()] + [settings.get("truncate_dim")]
        found.update(dim for dim in listed if isinstance(dim, int) and 0 < dim < facts.dim)
    if facts.family == "qwen3" and facts.pooling == "lasttoken" and facts.query_prompt.startswith("Instruct:"):
        return range(_QWEN3_LEAST, facts.dim)
    return sorted(found)


def resolve_dim(facts: ModelFacts, asked: int | None, *, forced: bool) -> ModelFacts:
    """Return the facts of a model whose vectors are cut to `asked` numbers; None: as its own files cut them, if at all.

    Raises:
        UsageError: the model has no more than that, or does not declare it (unless `forced`).
    """
    if asked is None:
        own = _settings(facts.folder, "config_sentence_transformers.json").get("truncate_dim")
        return at_dim(facts, own) if isinstance(own, int) and own > 0 else facts
    if asked == facts.dim:
        return facts
    if asked > facts.dim:
        raise UsageError(f"--dim {asked}: the model's vectors have {facts.dim} dimensions.")
    declared = declared_dims(facts)
    if asked not in declared and not forced:
        raise UsageError(
            f"--dim {asked}: {_told(declared, facts.dim)} Cutting what was not trained for it loses much: "
            "drop --dim, or add --force-dim to cut all the same."
        )
    return at_dim(facts, asked)


def at_dim(facts: ModelFacts, dim: int) -> ModelFacts:
    """Return the facts with vectors cut to `dim` numbers and scaled to unit length again; no more than there are."""
    if dim >= facts.dim:
        return facts
    queries = facts.queries and at_dim(facts.queries, dim)
    return replace(facts, dim=dim, normalize=True, queries=queries)


def _told(declared: Sequence[int], dim: int) -> str:
    if isinstance(declared, range):
        return f"the model was trained for {declared[0]} to {dim} dimensions."
    if declared:
        return f"the model's files name {', '.join(map(str, declared))} and {dim} as its dimensions."
    return "the model's files name no smaller dimension (matryoshka_dimensions, is_matryoshka, truncate_dim)."


def _settings(folder: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads((folder / name).read_text(encoding="utf8"))
    except (OSError, ValueError):  # `read_facts` has complained of what is needed
        return {}
    return content if isinstance(content, dict) else {}
