"""What a vector type costs: how many of a vector's nearest neighbours it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.vectors.codec import Codec

__all__ = ["VectorSample", "neighbours_kept"]

_MOST = 2000
"""Vectors: their similarities to each other are 16 MB."""


def neighbours_kept(exact: NDArray[Any], other: NDArray[Any], k: int = 10) -> float:
    """Return the share of each row's `k` highest scores off the diagonal that two float[n, n] have in common."""
    k = min(k, len(exact) - 1)
    if k < 1:
        return 1.0
    near = []
    for given in (exact, other):
        scores = given.copy()
        np.fill_diagonal(scores, -np.inf)
        marks = np.zeros(scores.shape, bool)
        np.put_along_axis(marks, np.argpartition(-scores, k - 1, axis=1)[:, :k], values=True, axis=1)
        near.append(marks)
    return float((near[0] & near[1]).sum()) / (k * len(exact))


class VectorSample:
    """Some of a worker's vectors as floats, each with the same chance; which ones depends on the shards alone."""

    def __init__(self, codec: Codec, most: int = _MOST) -> None:
        self._codec, self._most = codec, most
        self._keys = np.empty(0)
        self._vectors = np.empty((0, codec.dim), np.float32)
        self._n_seen: dict[str, int] = {}

    def add(self, shard_id: str, vectors: NDArray[np.float32]) -> None:
        """Take the next vectors of a shard, float32[n, dim], and keep those that are drawn."""
        n_before = self._n_seen.get(shard_id, 0)
        self._n_seen[shard_id] = n_before + 1
        keys = np.random.default_rng([int(shard_id, 36), n_before]).random(len(vectors))
        bound = self._keys.max() if len(self._keys) == self._most else np.inf
        drawn = np.flatnonzero((keys < bound) & np.isfinite(vectors).all(axis=1))
        if not len(drawn):
            return
        keys = np.concatenate([self._keys, keys[drawn]])
        kept = np.argsort(keys, kind="stable")[: self._most]
        self._keys, self._vectors = keys[kept], np.concatenate([self._vectors, vectors[drawn]])[kept]

    def __len__(self) -> int:
        return len(self._keys)

    def kept(self) -> float:
        """Return the share of the 10 nearest neighbours, by cosine among the sample, that the vector type keeps.

        Scores are those of a search: the query as it is against stored vectors; with a binary type both are signs.
        """
        exact = _unit(self._vectors)
        stored = _unit(self._codec.decode(self._codec.encode(self._vectors)))
        query = stored if self._codec.type.binary else exact
        return neighbours_kept(exact @ exact.T, query @ stored.T)


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
