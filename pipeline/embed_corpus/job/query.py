"""Embed a few texts in this process: queries, and the documents that `verify` checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.chunk.tokenizer import tokenizer_of
from embed_corpus.chunk.windows import Chunker
from embed_corpus.errors import UsageError
from embed_corpus.job.fits import check_fit
from embed_corpus.job.model import Prompts, with_query_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.data import Chunks
    from embed_corpus.engine.encoder import Encoder
    from embed_corpus.job.reopen import Opened

__all__ = ["embed_queries", "encode_chunks"]


def embed_queries(
    opened: Opened,
    queries: Sequence[str],
    model: str | None = None,
    prompts: Prompts | None = None,
    *,
    remote_code: bool = False,
) -> NDArray[np.float32]:
    """Embed queries with the query prompt that the run recorded, or the one chosen, on the CPU; float32[n, dim].

    Raises:
        UsageError: a query is longer than the model takes, or there is no such prompt.
        ModelError: the model is gone, or its files do not fit together.
    """
    from embed_corpus.engine.encoder import Encoder
    from embed_corpus.engine.ready import get_ready

    for i, query in enumerate(queries):
        if not query.isprintable() and any("\ud800" <= c <= "\udfff" for c in query):
            raise UsageError(f"query {i} is no valid UTF-8.")
    facts = with_query_prompt(opened.facts(model, remote_code=remote_code), prompts or Prompts())
    chunker = Chunker(tokenizer_of(facts), facts.max_tokens, prompt=facts.document_prompt)
    chunks = chunker(queries)
    each = np.bincount(chunks.doc, minlength=len(queries))
    if len(bad := np.flatnonzero(each != 1)):
        wrong = f"more than the {facts.max_tokens} tokens that the model takes" if each[bad[0]] else "no token"
        raise UsageError(f"query {bad[0]} ({queries[bad[0]][:40]!r}) gives {wrong}.")
    encoder = Encoder(facts, "cpu", "fp32")
    check_fit(chunker.tokenizer, encoder)
    get_ready(encoder)
    return encode_chunks(encoder, chunks)


def encode_chunks(encoder: Encoder, chunks: Chunks) -> NDArray[np.float32]:
    """Encode a block's chunks; float32[n, dim] in their order."""
    packer = encoder.packer()
    vectors = [encoder.encode(batch) for batch in (*packer.add(chunks), *packer.flush())]
    return np.concatenate(vectors) if vectors else np.empty((0, encoder.facts.dim), np.float32)
