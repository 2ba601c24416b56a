"""The data types that the stages exchange; stages meet only here.

source ─ Shard ▶ read ─ Rows ▶ chunk ─ Block(Rows, Chunks) ▶ pack ─ Batch ▶ encode ─ vectors ▶ write
"""

from embed_corpus.data.batch import Batch
from embed_corpus.data.blocks import Block
from embed_corpus.data.chunks import Chunks
from embed_corpus.data.counts import Counts
from embed_corpus.data.rows import SHOWN_BYTES, Reason, Reject, Rows
from embed_corpus.data.shards import Shard

__all__ = ["SHOWN_BYTES", "Batch", "Block", "Chunks", "Counts", "Reason", "Reject", "Rows", "Shard"]
