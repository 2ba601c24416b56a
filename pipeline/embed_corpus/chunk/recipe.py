"""The recipe: how a job's documents become chunks. Made once; whatever cuts texts is built from it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker

if TYPE_CHECKING:
    from pathlib import Path

    from embed_corpus.model.facts import ModelFacts

__all__ = ["ChunkRecipe"]


@dataclass(frozen=True, slots=True)
class ChunkRecipe:
    """How a document becomes chunks, as plain values: it crosses to the worker and loader processes.

    Attributes:
        folder: holds the model's tokenizer.json.
        chunk_tokens: tokens of a chunk at most, special ones and the prompt included.
        overlap: tokens that a chunk repeats of the one before, at most.
        by: where a chunk ends if it can: any word ("tokens"), "sentences" or "paragraphs".
        truncate: keep only the first chunk of each document.
        prompt: put before every chunk.
        pass_tokens: tokens of several chunks that go through the model together (late chunking); 0: each goes alone.
        bare: the tokenizer is a StaticEmbedding module's, without special tokens.
        fast: use the tokenizer's fast lane if it has one, which was proven or is being proven: no chunk differs by it.
    """

    folder: Path
    chunk_tokens: int
    _: KW_ONLY
    overlap: int = 0
    by: str = "tokens"
    truncate: bool = False
    prompt: str = ""
    pass_tokens: int = 0
    bare: bool = False
    fast: bool = False

    @classmethod
    def of_model(
        cls,
        facts: ModelFacts,
        chunk_tokens: int,
        *,
        overlap: int = 0,
        by: str = "tokens",
        truncate: bool = False,
        pass_tokens: int = 0,
    ) -> ChunkRecipe:
        """Return the recipe for a model's documents: its tokenizer and its document prompt."""
        return cls(
            facts.transformer,
            chunk_tokens,
            overlap=overlap,
            by=by,
            truncate=truncate,
            prompt=facts.document_prompt,
            pass_tokens=pass_tokens,
            bare=facts.table is not None,
        )

    @property
    def longest(self) -> int:
        """Tokens that go through the model together at most."""
        return self.pass_tokens or self.chunk_tokens

    def tokenizer(self) -> WordTokenizer:
        """Load the tokenizer; its fast lane, if it is to be used, unproven.

        Raises:
            ModelError: it cannot be read.
        """
        tokenizer = WordTokenizer(self.folder, fast=self.fast, bare=self.bare)
        tokenizer.prove(())
        return tokenizer

    def chunker(self, tokenizer: WordTokenizer | None = None) -> Chunker:
        """Return what cuts documents like this, with a `tokenizer` of this recipe if one is loaded already.

        Raises:
            ModelError: the tokenizer cannot be read. UsageError: see `Chunker`.
        """
        return Chunker(
            tokenizer or self.tokenizer(),
            self.chunk_tokens,
            self.overlap,
            self.prompt,
            self.truncate,
            self.by,
            self.pass_tokens,
        )
