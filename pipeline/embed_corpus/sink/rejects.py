"""Rejects: one JSONL file a shard, named by the shard, the same bytes on every attempt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embed_corpus.data import SHOWN_BYTES, Reason, Reject
from embed_corpus.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.data import Chunked
    from embed_corpus.store.base import Key
    from embed_corpus.store.layout import Layout

__all__ = ["beginning_of", "publish_rejects", "read_rejects", "rejects_file", "without_vector"]


def rejects_file(layout: Layout, shard_id: str) -> Key:
    """Return where a shard's rejects are on record, if it has any."""
    return layout.rejects / f"{shard_id}.jsonl.zst"


def publish_rejects(
    layout: Layout, shard_id: str, rejects: Sequence[Reject], shown: int = 0, *, committed: bool = False
) -> None:
    """Publish a shard's rejects, compressed with zstd; a shard without rejects has no file.

    `shown`: bytes that are told of each text, which may be a secret. A record that is there already stands if the
    shard's part is `committed`; else it is of an attempt that came to nothing, perhaps with other options or versions.
    """
    final = rejects_file(layout, shard_id)
    if not rejects:
        if not committed:
            layout.store.delete(final)
        return
    with layout.attempt(final.name) as made:
        with pa.CompressedOutputStream(pa.OSFile(str(made), "wb"), "zstd") as stream:
            for reject in rejects:
                stream.write(json.dumps(reject.to_json(shown), ensure_ascii=False).encode() + b"\n")
        lost = layout.store.put_if_absent(made, final) == "lost"
        if lost and not committed:
            with layout.store.open(final) as file:
                theirs = file.read()
            if made.read_bytes() != theirs:
                layout.store.put(made, final)


def read_rejects(layout: Layout, shard_id: str) -> list[dict[str, Any]]:
    """Return a shard's rejects as they were recorded; none if it had none.

    Raises:
        OutputError: the record is damaged.
    """
    file = rejects_file(layout, shard_id)
    if not layout.store.stat(file):
        return []
    try:
        with layout.store.open(file) as stored, pa.CompressedInputStream(stored, "zstd") as stream:
            return [json.loads(line) for line in stream.read().splitlines()]
    except (OSError, ValueError) as error:
        raise OutputError(f"{file} is damaged: {error}") from error


def without_vector(block: Chunked, finite: NDArray[np.bool_]) -> tuple[NDArray[np.int32], list[Reject]]:
    """Find the documents that gave no token, or a vector that is not `finite`, bool[chunks]."""
    broken = np.unique(block.chunks.doc[~finite])
    silent = np.setdiff1d(np.arange(len(block.rows.rows), dtype=np.int32), block.chunks.doc)
    table = block.rows.table
    rejects = [
        Reject(
            block.shard.source,
            int(block.rows.rows[doc]),
            reason,
            reason.sentence,
            table["doc_id"][doc].as_py(),
            beginning_of(block, doc),
        )
        for docs, reason in ((broken, Reason.NOT_FINITE), (silent, Reason.NO_TOKENS))
        for doc in docs.tolist()
    ]
    return broken, rejects


def beginning_of(block: Chunked, doc: int) -> bytes:
    """Return the first bytes of a document's text."""
    text: str = block.rows.table["text"][doc].as_py()
    return text[:SHOWN_BYTES].encode()[:SHOWN_BYTES]
