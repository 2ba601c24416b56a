"""The data types that the stages exchange; stages meet only here.

source ─ Shard ▶ read ─ Rows ▶ chunk ─ Block(Rows, Chunks) ▶ pack ─ Batch ▶ encode ─ vectors ▶ write
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pyarrow import RecordBatch

__all__ = ["SHOWN_BYTES", "Batch", "Block", "Chunks", "Counts", "Reject", "Rows", "Shard"]


_SUFFIX = re.compile(
    r"(?i)\.((parquet|jsonl|ndjson)(\.(gz|zst))?|parq|pq|parquet\.(gzip|snappy|zstd|brotli|br|lz4)"
    r"|(jsonl|ndjson|json)(\.(gz|gzip|zst|zstd|bz2|xz))?)$"
)
_ODD = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Shard:
    """A row range of one source file: the unit of work, of output and of resume.

    Attributes:
        id: hex digest over relative path, size, content tag, range and job hash.
        source: path relative to its INPUT, with forward slashes.
        first_row: 0-based number of the first row in the source (JSONL: line number).
        n_rows: rows in the range.
        offset: JSONL only: byte at which `first_row` starts in the decompressed stream.
        path: where the source lies on this machine; no part of the identity.
        mtime_ns: its time of change when it was planned, 0 if unknown; no part either.
        superseded: marks of the rows whose id a later row has, which stands in their place (--on-duplicate last).
    """

    id: str
    source: str
    first_row: int
    n_rows: int
    offset: int = 0
    path: str = ""
    mtime_ns: int = 0
    superseded: str = ""

    @property
    def part_name(self) -> str:
        """Final file name of this shard's part: a function of the shard alone."""
        stem = _SUFFIX.sub("", self.source.rpartition("/")[2])
        stem = _ODD.sub("_", stem).strip("._")
        return f"{stem[:80] or 'source'}-{self.first_row:010d}-{self.id}.parquet"

    def to_json(self) -> dict[str, Any]:
        """Return the fields of the plan file: everything but the place on this machine."""
        # Not asdict, which copies each value: there may be 100,000 shards.
        fields: dict[str, Any] = {
            "id": self.id,
            "source": self.source,
            "first_row": self.first_row,
            "n_rows": self.n_rows,
            "offset": self.offset,
        }
        return fields | {"superseded": self.superseded} if self.superseded else fields


SHOWN_BYTES = 1024
"""Bytes of a rejected value that are kept, for those who want to see them."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be embedded, with its reason, where it came from and how its text begins (bytes)."""

    source: str
    row: int
    reason: str
    detail: str = ""
    doc_id: str | None = None
    value: bytes = b""

    def to_json(self, shown: int = 0) -> dict[str, Any]:
        """Return the fields, with `shown` bytes of the value: what is no UTF-8 among them as \\xNN."""
        fields = {name: getattr(self, name) for name in ("source", "row", "reason", "detail", "doc_id")}
        if not shown:
            return fields
        value = self.value[:shown]
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":  # cut within a character
                value = value[: error.start]
            text = value.decode(errors="backslashreplace")
        return fields | {"value": text}


@dataclass(frozen=True, slots=True)
class Rows:
    """Documents read together, in source order.

    Attributes:
        table: columns `doc_id` (string), `text` (string) and the kept columns.
        rows: int64[n], the row number of each document in its source.
        rejects: rows of the same range that are no documents.
    """

    table: RecordBatch
    rows: NDArray[np.int64]
    rejects: tuple[Reject, ...]


@dataclass(frozen=True, slots=True)
class Chunks:
    """Token windows of a block's documents, in order, as flat arrays.

    Attributes:
        doc: int32[n], index of the document within the block.
        index: int32[n], number of the chunk within its document.
        start, end: int64[n], span in the document's text, in code points; end exclusive.
        n_tokens: int32[n], tokens the model sees: special tokens and prompt included.
        content_hash: uint8[n, 16], blake2b-128 of each chunk's text in UTF-8; with `passes`, of its document's.
        input_ids: int32[sum of n_tokens], the chunks' ids laid end to end.
        truncated: documents of which only the first window was kept (on request).
        cut_words: windows that end inside a word, because the word exceeds the limit.
        unknown: bool[n], chunks whose text has no token that the tokenizer knows; None: not looked at.
        passes: int32[m], with late chunking: tokens of each text that goes through the model in one, whole
            chunks of one document, special tokens only around them all; None: each chunk goes alone.
    """

    doc: NDArray[np.int32]
    index: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    n_tokens: NDArray[np.int32]
    content_hash: NDArray[np.uint8]
    input_ids: NDArray[np.int32]
    truncated: int = 0
    cut_words: int = 0
    passes: NDArray[np.int32] | None = None
    unknown: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.doc)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each text that goes through the model, int32: of passes, or else of chunks."""
        return self.n_tokens if self.passes is None else self.passes

    def around(self, i: int) -> tuple[Chunks, int]:
        """Return the chunks that go through the model with chunk `i`, and its number among them."""
        ends, of_texts = self.n_tokens.cumsum(), self.lengths.cumsum()
        text = int(of_texts.searchsorted(ends[i]))
        begin, end = int(of_texts[text] - self.lengths[text]), int(of_texts[text])
        first, stop = ends.searchsorted([begin, end], "right").tolist()
        rows = slice(first, stop)
        part = Chunks(
            self.doc[rows],
            self.index[rows],
            self.start[rows],
            self.end[rows],
            self.n_tokens[rows],
            self.content_hash[rows],
            self.input_ids[begin:end],
            passes=None if self.passes is None else self.passes[text : text + 1],
        )
        return part, i - first

    def ids(self) -> list[NDArray[np.int32]]:
        """Return each chunk's ids, as views."""
        ends = self.n_tokens.cumsum().tolist()
        return [self.input_ids[end - n : end] for end, n in zip(ends, self.n_tokens.tolist(), strict=True)]


@dataclass(frozen=True, slots=True)
class Block:
    """A bounded run of one shard's rows on its way through the stages.

    A block without rows ends its shard: it is complete, or, with an `error`, the source turned
    out unreadable there and nothing of the shard may be published. `known`: float32[n, dim], vectors
    that the chunks have already, NaN in the rows of those that are to be embedded; None: all are.
    `content`, at the end of a shard: digest of the bytes that it was read from, empty where its id covers them.

    A huge document comes as several blocks, each with some of its chunks; but for the last they say that
    there is `more`. Their `text` is what their chunks span, `base` characters into the document's.
    """

    shard: Shard
    rows: Rows | None = None
    chunks: Chunks | None = None
    error: str = ""
    known: NDArray[np.float32] | None = None
    more: bool = False
    base: int = 0
    content: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one forward pass eats: texts laid end to end, no padding between them.

    A text is a chunk, or, with late chunking, several.

    Attributes:
        input_ids: int32[T]; what lies behind the last text is padding up to a shape and belongs to none.
        position_ids: int32[T], starting at 0 with each text.
        cu_seqlens: int32[N + 1], start of each text in the batch, then the end of the last.
        max_length: tokens of the longest text.
        pooled: int32[M + 1], the same of each chunk; None: each text is one.
    """

    input_ids: NDArray[np.int32]
    position_ids: NDArray[np.int32]
    cu_seqlens: NDArray[np.int32]
    max_length: int
    pooled: NDArray[np.int32] | None = None

    @property
    def chunk_edges(self) -> NDArray[np.int32]:
        """Start of each chunk in the batch, then the end of the last, int32."""
        return self.cu_seqlens if self.pooled is None else self.pooled

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return len(self.chunk_edges) - 1


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of some rows; counts of disjoint rows add up with `+`.

    `rows == documents + sum(rejects.values())` holds for every finished shard.
    `tokens` are real ones: special tokens and prompt included, padding not. `unknown` are chunks whose text has no
    token that the tokenizer knows, `unknown_in` the id of a document with one; a part does not tell them.
    """

    rows: int = 0
    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    truncated: int = 0
    cut_words: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    unknown: int = field(default=0, compare=False)
    unknown_in: str = field(default="", compare=False)

    def __add__(self, other: Counts) -> Counts:
        reasons = {r: self.rejects.get(r, 0) + other.rejects.get(r, 0) for r in self.rejects | other.rejects}
        return Counts(
            self.rows + other.rows,
            self.documents + other.documents,
            self.chunks + other.chunks,
            self.tokens + other.tokens,
            self.truncated + other.truncated,
            self.cut_words + other.cut_words,
            dict(sorted(reasons.items())),
            self.unknown + other.unknown,
            self.unknown_in or other.unknown_in,
        )

    def __neg__(self) -> Counts:
        """Return what takes these counts away again."""
        return Counts(
            -self.rows,
            -self.documents,
            -self.chunks,
            -self.tokens,
            -self.truncated,
            -self.cut_words,
            {reason: -n for reason, n in self.rejects.items()},
            -self.unknown,
        )

    def in_part(self) -> dict[str, Any]:
        """Return the fields that a part tells."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("unknown")}

    @property
    def rejected(self) -> int:
        """Rows rejected, for whatever reason."""
        return sum(self.rejects.values())

    @property
    def budgeted(self) -> int:
        """Rejects that count against the error budget: all but empty texts and rows that a newer one supersedes."""
        return self.rejected - self.rejects.get("empty", 0) - self.rejects.get("superseded", 0)
