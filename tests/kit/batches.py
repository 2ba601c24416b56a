"""Batches from plain ids, and their vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embed_corpus.data import Chunks
from embed_corpus.engine.encoder import LocalEncoder
from embed_corpus.feed.packing import Packer, make_batch

Ids = list[NDArray[np.int32]]


def ids_of(chunks: Chunks) -> Ids:
    """Each chunk's ids."""
    return chunks.ids()


def random_ids(lengths: list[int], seed: int = 0) -> Ids:
    """Texts of these lengths, of random ordinary tokens below 1,990."""
    dice = np.random.default_rng(seed)
    return [dice.integers(5, 1990, n).astype(np.int32) for n in lengths]


def lengths_of(ids: Ids) -> NDArray[np.int32]:
    """Tokens of each text."""
    return np.array([len(i) for i in ids], np.int32)


def encode(encoder: LocalEncoder, ids: Ids) -> NDArray[np.float32]:
    """Vectors of these chunks, all in one batch."""
    return encoder.encode(make_batch(np.concatenate(ids), lengths_of(ids)))


def encode_packed(encoder: LocalEncoder, ids: Ids, budget: int) -> NDArray[np.float32]:
    """Vectors of these chunks, in batches of at most `budget` tokens."""
    packer = Packer(budget)
    batches = [*packer.add_ids(np.concatenate(ids), lengths_of(ids)), *packer.flush()]
    return np.concatenate([encoder.encode(batch) for batch in batches])


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each pair of rows."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a.astype(np.float64), b.astype(np.float64)))
    return (a * b).sum(axis=1)
