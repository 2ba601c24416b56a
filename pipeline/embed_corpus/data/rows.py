"""Documents as they were read, and the rows of a source that are no documents."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pyarrow import RecordBatch

__all__ = ["SHOWN_BYTES", "Reason", "Reject", "Rows"]


SHOWN_BYTES = 1024
"""Bytes of a rejected value that are kept, for those who want to see them."""


class Reason(StrEnum):
    """Why a row could not be embedded.

    The value stands in records, counts and reports; the `sentence` says what it means.
    """

    sentence: str

    EMPTY = "empty", "the text is null, missing or blank"
    TOO_LARGE = "too_large", "the line or the text is larger than what is held in memory"
    BAD_JSON = "bad_json", "the line is not one JSON object"
    INVALID_UTF8 = "invalid_utf8", "the text, the id or a kept column is not UTF-8"
    WRONG_TYPE = "wrong_type", "the text, the id or a kept column is of a type that does not fit"
    NO_ID = "no_id", "the id is null or missing"
    DUPLICATE_ID = "duplicate_id", "an earlier row of this shard has the same id"
    SUPERSEDED = "superseded", "a later row has the same id (--on-duplicate last)"
    NO_TOKENS = "no_tokens", "the tokenizer gives no token for this text"
    NOT_FINITE = "not_finite", "the model gave NaN or infinity, or a number too large for float16"

    def __new__(cls, value: str, sentence: str) -> Self:
        """Make a member whose value is the first of the two."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be embedded, with its reason, where it came from and how its text begins (bytes)."""

    source: str
    row: int
    reason: Reason
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
