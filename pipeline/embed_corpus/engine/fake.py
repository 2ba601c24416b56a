"""An encoder without a model: vectors are made of the token ids by whole numbers, the same bits on every machine.

For tests and measurements of all that stands around an encoder. Texts that share words are near each other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.feed.packing import CPU_BUDGET, Packer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from embed_corpus.data import Batch

__all__ = ["FakeEncoder", "FakePending"]

_WORDS, _PLACES = 4099, 31
"""Token ids, and places in a text, that are told apart; both prime, so that no power of two looks like another."""


@dataclass(frozen=True, slots=True)
class FakePending:
    """Vectors that are there at once; nothing was computed that would count as a model's arithmetic."""

    vectors: NDArray[np.float32]
    flops: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)

    def result(self) -> NDArray[np.float32]:
        """Return the vectors, float32[n_chunks, dim]."""
        return self.vectors


class FakeEncoder:
    """Gives each chunk a unit vector that depends on its token ids and their order alone, not on its batch.

    Attributes:
        dim: dimension of a vector.
        batch_tokens: tokens of a batch.
        ahead: batches that it takes before it is asked for the first one's vectors.
        n_batches, n_chunks: what was submitted so far.
    """

    def __init__(self, dim: int, batch_tokens: int = CPU_BUDGET, ahead: int = 0) -> None:
        self.dim, self.batch_tokens, self.ahead = dim, batch_tokens, ahead
        self.n_batches = self.n_chunks = 0
        drawn = hashlib.shake_256(b"embed_corpus.engine.fake").digest(_WORDS * dim)
        self._words = np.frombuffer(drawn, np.int8).reshape(_WORDS, dim)

    @property
    def numerics(self) -> dict[str, Any]:
        """What can change a vector's bits: only what is written here."""
        return {"encoder": "fake", "dim": self.dim}

    def packer(self) -> Packer:
        """Return a packer of batches as long as they come."""
        return Packer(self.batch_tokens)

    def submit(self, batch: Batch) -> FakePending:
        """Embed a batch."""
        self.n_batches += 1
        self.n_chunks += batch.n_chunks
        edges = batch.chunk_edges
        place = np.arange(edges[-1]) - np.repeat(edges[:-1], np.diff(edges))
        tokens = self._words[batch.input_ids[: edges[-1]] % _WORDS].astype(np.int64)
        sums = np.add.reduceat(tokens * (1 + place % _PLACES)[:, None], edges[:-1], axis=0)
        sums[~sums.any(axis=1), 0] = 1  # a text may cancel itself out
        lengths = np.sqrt((sums * sums).sum(axis=1, keepdims=True))
        return FakePending((sums / lengths).astype(np.float32))

    def close(self) -> None:
        """Hold nothing that would have to be let go of."""
