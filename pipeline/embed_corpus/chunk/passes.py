"""Late chunking: consecutive chunks of a document that go through the model together."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.chunk.tokens import stretches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.data import Chunks

__all__ = ["in_passes"]


def in_passes(chunks: Chunks, limit: int, special: tuple[int, int], texts: Sequence[str]) -> Chunks:
    """Join each document's chunks, in order, to passes of at most `limit` tokens, filled one after the other.

    `special` are the tokens before and behind the text of each chunk: only those before a pass's first and
    behind its last are kept, and count with them. `texts` are the documents: a chunk's vector depends on all of
    its document, whose hash becomes the chunk's (blake2b-128). Chunks must not overlap.
    """
    sizes = chunks.n_tokens.astype(np.int64)
    begins = np.cumsum(sizes) - sizes
    first = np.zeros(len(chunks), bool)
    first[list(_firsts(chunks.doc, sizes - sum(special), limit - sum(special)))] = True
    last = np.append(first[1:], True)[: len(first)]
    begins += np.where(first, 0, special[0])
    sizes -= np.where(first, 0, special[0]) + np.where(last, 0, special[1])
    starts = np.flatnonzero(first)
    digests = b"".join(blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return replace(
        chunks,
        n_tokens=sizes.astype(np.int32),
        content_hash=np.frombuffer(digests, np.uint8).reshape(-1, 16)[chunks.doc],
        input_ids=chunks.input_ids[stretches(begins, sizes)],
        passes=(np.add.reduceat(sizes, starts) if len(starts) else sizes).astype(np.int32),
    )


def _firsts(doc: NDArray[np.int32], sizes: NDArray[np.int64], room: int) -> Iterator[int]:
    """Yield the first chunk of each pass of at most `room` tokens; `sizes` are the chunks', special ones left out."""
    ends = np.cumsum(sizes)
    starts = np.flatnonzero(np.diff(doc, prepend=-1))
    stops = np.append(starts, len(doc))[1:]
    long = ends[stops - 1] - ends[starts] + sizes[starts] > room
    yield from starts[~long].tolist()
    for start, stop in zip(starts[long].tolist(), stops[long].tolist(), strict=True):
        at = start
        while at < stop:
            yield at
            at = max(at + 1, int(np.searchsorted(ends, ends[at] - sizes[at] + room, "right")))
