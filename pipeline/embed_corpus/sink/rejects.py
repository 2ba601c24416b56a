"""Rejects: one JSONL file a shard, named by the shard, the same bytes on every attempt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from embed_corpus.errors import OutputError
from embed_corpus.sink.commit import attempt, publish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from embed_corpus.data import Reject
    from embed_corpus.sink.layout import Layout

__all__ = ["publish_rejects", "read_rejects", "rejects_file"]


def rejects_file(layout: Layout, shard_id: str) -> Path:
    """Return where a shard's rejects are on record, if it has any."""
    return layout.rejects / f"{shard_id}.jsonl.zst"


def publish_rejects(layout: Layout, shard_id: str, rejects: Sequence[Reject], shown: int = 0) -> None:
    """Publish a shard's rejects, compressed with zstd; a shard without rejects has no file.

    `shown`: bytes that are told of each text, which may be a secret.
    """
    if not rejects:
        return
    layout.rejects.mkdir(parents=True, exist_ok=True)
    final = rejects_file(layout, shard_id)
    with attempt(layout.tmp, final.name) as made:
        with pa.CompressedOutputStream(pa.OSFile(str(made), "wb"), "zstd") as stream:
            for reject in rejects:
                stream.write(json.dumps(reject.to_json(shown), ensure_ascii=False).encode() + b"\n")
        publish(made, final, alone=layout.alone)


def read_rejects(layout: Layout, shard_id: str) -> list[dict[str, Any]]:
    """Return a shard's rejects as they were recorded; none if it had none.

    Raises:
        OutputError: the record is damaged.
    """
    file = rejects_file(layout, shard_id)
    if not file.exists():
        return []
    try:
        with pa.CompressedInputStream(pa.OSFile(str(file)), "zstd") as stream:
            return [json.loads(line) for line in stream.read().splitlines()]
    except (OSError, ValueError) as error:
        raise OutputError(f"{file} is damaged: {error}") from error
