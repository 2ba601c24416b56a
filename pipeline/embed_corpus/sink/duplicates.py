"""Find ids that stand in more than one part; within a part the reader has rejected them already."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from embed_corpus.sink.readback import open_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.store.layout import Layout

__all__ = ["repeated_ids"]


def repeated_ids(layout: Layout, names: Sequence[str], examples: int = 3) -> tuple[int, list[str]]:
    """Count the documents whose id another document has too, and name a few of the ids.

    Ids are compared by a 64-bit hash: 8 bytes of memory a document, and one false alarm to
    be expected per 6 billion documents; the examples are compared as they stand.
    """
    hashes = np.concatenate([np.empty(0, np.uint64), *(_hashed(ids) for _, ids in _first_chunks(layout, names))])
    hashes.sort()
    again = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(again):
        return 0, []
    found: dict[str, str] = {}
    repeated: list[str] = []
    for part, ids in _first_chunks(layout, names):
        for doc_id, suspicious in zip(ids, np.isin(_hashed(ids), again), strict=True):
            if suspicious and found.setdefault(doc_id, part) != part:
                repeated.append(doc_id)
                if len(repeated) == examples:
                    return len(again), repeated
    return len(again), repeated


def _first_chunks(layout: Layout, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (part, ids of some of its documents): each document once, by its first chunk."""
    for name in names:
        with open_part(layout, layout.data / name, checked=False) as file:
            for batch in file.iter_batches(8192, columns=["doc_id", "chunk_index"]):
                yield name, batch.filter(pc.equal(batch["chunk_index"], 0))["doc_id"].to_pylist()


def _hashed(ids: list[str]) -> NDArray[np.uint64]:
    digests = b"".join(blake2b(doc_id.encode(), digest_size=8).digest() for doc_id in ids)
    return np.frombuffer(digests, np.uint64)
