"""A graph without some of its nodes, so that they can be its questions."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.index.effort import inner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["taken_out"]

_NODES = 65_536
"""Nodes whose links are looked at together."""


@contextmanager
def taken_out(index: Any, rows: NDArray[np.int64]) -> Iterator[bool]:
    """Let no link of an HNSW graph lead to these rows for a while; yields whether the index is such a graph.

    A vector that is a node finds its neighbours by its own links, whatever the effort: as a question it would promise
    a recall that no query has. Links that led over it are missed, so this tells a little too little.
    """
    import faiss

    found = inner(index)
    if not isinstance(found, faiss.IndexHNSW | faiss.IndexBinaryHNSW):
        yield False
        return
    hnsw = found.hnsw
    links = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
    offsets, levels = (faiss.vector_to_array(column).astype(np.int64) for column in (hnsw.offsets, hnsw.levels))
    edges = faiss.vector_to_array(hnsw.cum_nneighbor_per_level)
    gone = np.zeros(found.ntotal + 1, np.bool_)  # the last stands for no link, -1
    gone[rows] = True
    before: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
    try:
        for level in range(int(levels.max(initial=0))):
            nodes = np.flatnonzero(levels > level)
            for first in range(0, len(nodes), _NODES):
                begins = offsets[nodes[first : first + _NODES], None]
                at = begins + np.arange(edges[level], edges[level + 1])
                leads = gone[links[at]]
                changed = leads.any(axis=1)
                at, leads = at[changed], leads[changed]
                before.append((at, links[at]))
                order = np.argsort(leads, axis=1, kind="stable")  # a list ends at its first -1
                links[at] = np.take_along_axis(np.where(leads, -1, links[at]), order, axis=1)
        yield True
    finally:
        for at, were in before:
            links[at] = were
