"""The data types that the stages exchange; stages meet only here.

source ─ Shard ▶ read ─ Rows ▶ chunk ─ Block | Piece | ShardEnd | ShardFailed ▶ pack ─ Batch ▶ encode ─ Encoded ▶ write
"""

from embed_corpus.data.batch import Batch
from embed_corpus.data.blocks import Block, Chunked, Encoded, Piece, ShardEnd, ShardFailed
from embed_corpus.data.chunks import Chunks
from embed_corpus.data.counts import Counts
from embed_corpus.data.rows import SHOWN_BYTES, Reason, Reject, Rows
from embed_corpus.data.shards import Shard

__all__ = [
    "SHOWN_BYTES",
    "Batch",
    "Block",
    "Chunked",
    "Chunks",
    "Counts",
    "Encoded",
    "Piece",
    "Reason",
    "Reject",
    "Rows",
    "Shard",
    "ShardEnd",
    "ShardFailed",
]
