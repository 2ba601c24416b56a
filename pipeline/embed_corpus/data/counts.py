"""What became of rows, as sums."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from embed_corpus.data.rows import Reason

__all__ = ["Counts"]


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
        return self.rejected - self.rejects.get(Reason.EMPTY, 0) - self.rejects.get(Reason.SUPERSEDED, 0)
