"""The recipe of a job: what the user asked of chunks, and what the model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embed_corpus.chunk.recipe import ChunkRecipe
from embed_corpus.errors import UsageError
from embed_corpus.job.late_chunking import resolve_pass_tokens

if TYPE_CHECKING:
    from embed_corpus.job.config import JobConfig
    from embed_corpus.model.facts import ModelFacts

__all__ = ["recipe_of", "resolve_chunk_tokens"]

DEFAULT_CHUNK_TOKENS = 512


def recipe_of(config: JobConfig, facts: ModelFacts) -> ChunkRecipe:
    """Return how a job's documents become chunks.

    Raises:
        UsageError: the model takes no such chunks, or late chunking has no meaning with it.
    """
    chunk_tokens = resolve_chunk_tokens(config.chunk_tokens, facts)
    return ChunkRecipe.of_model(
        facts,
        chunk_tokens,
        overlap=config.chunk_overlap,
        by=config.chunk_by,
        truncate=config.long == "truncate",
        pass_tokens=resolve_pass_tokens(config, facts, chunk_tokens),
    )


def resolve_chunk_tokens(asked: int | None, facts: ModelFacts) -> int:
    """Return the tokens of a chunk: those asked for, else the model's limit, 512 at most.

    Raises:
        UsageError: more than the model takes.
    """
    if asked is None:
        return min(facts.max_tokens, DEFAULT_CHUNK_TOKENS)
    if asked > facts.max_tokens:
        raise UsageError(f"--chunk-tokens {asked}: the model takes {facts.max_tokens} at most, special ones included.")
    return asked
