"""Embed a few texts in this process: queries, and the documents that `verify` checks."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.chunk.recipe import ChunkRecipe
from embed_corpus.engine.base import EncoderSpec
from embed_corpus.engine.encoders import load_encoder
from embed_corpus.errors import UsageError
from embed_corpus.job.fits import check_fit
from embed_corpus.job.prompts import Prompts, with_query_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.chunk.tokenizer import WordTokenizer
    from embed_corpus.data import Chunks
    from embed_corpus.engine.base import Encoder
    from embed_corpus.job.output import Opened
    from embed_corpus.model.facts import ModelFacts

__all__ = ["QueryEncoder", "encode_chunks"]

log = logging.getLogger("embed_corpus")

_NAMED = 5
"""Queries that are named when they are cut."""


class QueryEncoder:
    """The model of an OUT as it embeds queries, on the CPU: with the prompt that the run recorded, or the one chosen.

    It is loaded with the first queries and kept.
    """

    def __init__(
        self, opened: Opened, model: str | None = None, prompts: Prompts | None = None, *, remote_code: bool = False
    ) -> None:
        self._opened, self._model, self._remote_code = opened, model, remote_code
        self._prompts = prompts or Prompts()

    def embed(self, queries: Sequence[str], names: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Embed queries; float32[n, dim].

        A query that is longer than the model takes is cut behind a word, its prompt stays whole; a warning tells its
        name (None: its number).

        Raises:
            UsageError: the prompt leaves no room, a query has no token, or there is no such prompt.
            ModelError: the model is gone, or its files do not fit together.
        """
        for i, query in enumerate(queries):
            if not query.isprintable() and any("\ud800" <= c <= "\udfff" for c in query):
                raise UsageError(f"query {i} is no valid UTF-8.")
        names = names or [str(i) for i in range(len(queries))]
        chunks = _one_each(self._recipe, self._tokenizer, queries, names)
        return encode_chunks(self._encoder, chunks) if len(chunks) else np.empty((0, self._facts.dim), np.float32)

    @cached_property
    def _facts(self) -> ModelFacts:
        return with_query_prompt(self._opened.facts(self._model, remote_code=self._remote_code), self._prompts)

    @cached_property
    def _recipe(self) -> ChunkRecipe:
        return ChunkRecipe.of_model(self._facts, self._facts.max_tokens, truncate=True)

    @cached_property
    def _tokenizer(self) -> WordTokenizer:
        return self._recipe.tokenizer()

    @cached_property
    def _encoder(self) -> Encoder:
        loaded = load_encoder(EncoderSpec("cpu", self._facts, "fp32"))
        check_fit(self._tokenizer, self._facts, loaded.known_ids)
        return loaded.ready(list).encoder


def _one_each(recipe: ChunkRecipe, tokenizer: WordTokenizer, queries: Sequence[str], names: Sequence[str]) -> Chunks:
    """Make one chunk of each query: what of it the model takes."""
    try:
        chunks = recipe.chunker(tokenizer)(queries)
    except UsageError as error:  # it speaks of the options of `run`
        n_tokens = len(tokenizer.whole(recipe.prompt))
        raise UsageError(
            f"the query prompt has {n_tokens} tokens, the model takes {recipe.chunk_tokens}: that leaves no room for a "
            "query. Give a shorter one with --prompt."
        ) from error
    each = np.bincount(chunks.doc, minlength=len(queries))
    if len(bad := np.flatnonzero(each != 1)):
        raise UsageError(f"query {names[bad[0]]} ({queries[bad[0]][:40]!r}) gives no token.")
    cut = np.flatnonzero(chunks.end < [len(query) for query in queries]).tolist()
    for i in cut[:_NAMED]:
        log.warning(
            "query %s (%r) is cut: it has %d tokens, the model takes %d.",
            names[i],
            queries[i][:40],
            len(tokenizer.whole(recipe.prompt + queries[i])),
            recipe.chunk_tokens,
        )
    if len(cut) > _NAMED:
        log.warning("%d more queries are cut like that.", len(cut) - _NAMED)
    return chunks


def encode_chunks(encoder: Encoder, chunks: Chunks) -> NDArray[np.float32]:
    """Encode a block's chunks, one or more; float32[n, dim] in their order."""
    packer = encoder.packer()
    return np.concatenate([encoder.submit(batch).result() for batch in (*packer.add(chunks), *packer.flush())])
