"""How documents become chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from embed_corpus.errors import UsageError
from embed_corpus.job.options.option import Option

__all__ = ["ChunkBy", "Chunking", "Long", "check_chunking"]

ChunkBy = Literal["tokens", "sentences", "paragraphs"]
Long = Literal["split", "truncate"]


@dataclass(frozen=True, kw_only=True)
class Chunking:
    """How documents become chunks."""

    chunk_tokens: Annotated[
        int | None,
        Option(
            "Tokens of a chunk at most, special tokens included.",
            "N",
            shown="the model's limit, 512 at most",
            least=1,
            most=1 << 30,
            also="plan bench",
        ),
    ] = None
    chunk_overlap: Annotated[
        int,
        Option("Tokens that a chunk repeats of the one before, at most.", "N", least=0, most=1 << 30, also="plan"),
    ] = 0
    chunk_by: Annotated[
        ChunkBy,
        Option(
            "Where a chunk ends: at the last word that fits, or the last sentence or paragraph, if one ends inside.",
            also="plan",
        ),
    ] = "tokens"
    long: Annotated[
        Long,
        Option("Documents over the limit: split into chunks, or cut off (counted).", also="plan"),
    ] = "split"
    late_chunking: Annotated[
        bool,
        Option(
            "For long-context models with mean pooling: a document goes through the model whole, up to the model's "
            "limit, and each chunk's vector is the mean over its tokens there.",
            also="plan",
        ),
    ] = False


def check_chunking(asked: Chunking) -> None:
    """Check what no single value tells.

    Raises:
        UsageError: two options contradict each other.
    """
    if asked.chunk_overlap and asked.long == "truncate":
        raise UsageError("--chunk-overlap has no meaning with --long truncate: drop one of them.")
    if asked.late_chunking and (asked.chunk_overlap or asked.long == "truncate"):
        other = "--chunk-overlap" if asked.chunk_overlap else "--long truncate"
        raise UsageError(f"--late-chunking embeds whole documents, each token once: drop it, or {other}.")
