"""Late chunking: which models it is for, and how long a pass of theirs may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embed_corpus.errors import ModelError, UsageError

if TYPE_CHECKING:
    from embed_corpus.engine.base import ReadyEncoder
    from embed_corpus.job.config import JobConfig
    from embed_corpus.model.facts import ModelFacts

__all__ = ["check_late_chunking", "resolve_pass_tokens"]

_ONE_TOKEN = {"cls": "first", "lasttoken": "last"}


def resolve_pass_tokens(config: JobConfig, facts: ModelFacts, chunk_tokens: int) -> int:
    """Return the tokens that go through the model together with late chunking, its limit; 0 without.

    Raises:
        UsageError: the model's pooling, limit or document prompt leaves late chunking no meaning.
    """
    if not config.late_chunking:
        return 0
    if facts.table:
        raise UsageError(
            "--late-chunking: a StaticEmbedding model gives a token the same vector whatever stands around it, so that "
            "each chunk's is what it is without. Drop it."
        )
    if facts.pooling in _ONE_TOKEN:
        raise UsageError(
            f"--late-chunking: this model's vector is the state of one token, the {_ONE_TOKEN[facts.pooling]} "
            f"({facts.pooling} pooling), which chunks that go through it together do not have each. "
            "Drop it, or name a model with mean pooling."
        )
    if facts.pooling != "mean":
        raise UsageError(
            f"--late-chunking takes the mean of a chunk's tokens, and this model has {facts.pooling} pooling. "
            "Drop it, or name a model with mean pooling."
        )
    if facts.max_tokens <= chunk_tokens:
        raise UsageError(
            f"--late-chunking: the model takes {facts.max_tokens} tokens, no more than a chunk of {chunk_tokens}, "
            "so that each chunk would go through it alone. Lower --chunk-tokens, or drop it."
        )
    if facts.document_prompt:
        raise UsageError(
            f"--late-chunking: the document prompt {facts.document_prompt!r} would stand before the first chunk of a "
            'document alone. Drop it, or embed without a prompt: --prompt "".'
        )
    return facts.max_tokens


def check_late_chunking(ready: ReadyEncoder) -> None:
    """Refuse an encoder that pools whole texts, as the padded path does.

    Raises:
        ModelError: it does; its notes say why.
    """
    if not ready.late_chunking:
        raise ModelError(f"--late-chunking needs packed texts, and here {'; '.join(ready.notes)}. Run without it.")
