"""Types in turn: where auto's first choice misses the recall asked for, the next is built in its place."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embed_corpus.index.build_time import predicted_seconds
from embed_corpus.index.choose import choices, choose
from embed_corpus.index.distinct import merging_bytes
from embed_corpus.store.workshop import note, noted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.index.choose import Choice, Request
    from embed_corpus.index.rows import Vectors
    from embed_corpus.index.schema import IndexRecord
    from embed_corpus.store.layout import Layout

__all__ = ["Turn", "continues", "settled_for_less", "turns"]

log = logging.getLogger("embed_corpus")

_GROWN = 2
"""An index grows to so many times the vectors that it was trained for; then it is trained anew."""


@dataclass(frozen=True)
class Turn:
    """A build to try: `there` is the manifest of the index to extend, if any.

    Attributes:
        keep: what comes out is kept, whatever its recall.
        missed: recall@10 of the types that were tried before, by factory string.
        notes: the file that keeps them while others are tried.
    """

    choice: Choice
    there: IndexRecord | None
    keep: bool
    missed: dict[str, float]
    notes: Path

    @property
    def name(self) -> str:
        """What it is noted by."""
        return f"{self.there.type} extended" if self.there else self.choice.factory

    def tell(self, vectors: Vectors, n_rows: int) -> None:
        """Tell what is built now of `vectors`, which `n_rows` chunks have, and what it will take."""
        n, begin = vectors.n_rows, self.there.n_vectors if self.there else 0
        choice, gib = self.choice, 1 << 30
        log.info(
            "%s %s of %s: %s. About %.1f GiB of memory%s, %.0f s",
            "extending the index" if self.there else "building an index",
            self.there.type if self.there else choice.factory,
            f"{n:,} vectors" if n == n_rows else f"{n:,} different vectors, which {n_rows:,} chunks have",
            f"{begin:,} are in it" if self.there else choice.why,
            max(choice.peak, merging_bytes(n_rows)) / gib,
            f", {choice.n_bytes / gib:.1f} GiB of lists on disk" if choice.on_disk else "",
            predicted_seconds(n, vectors.codec.dim, choice, begin),
        )

    def told(self, *, below: bool) -> dict[str, float] | None:
        """Return what index.json tells of types that were tried; None where the first reached the recall."""
        others = {name: r for name, r in self.missed.items() if name != self.choice.factory and " " not in name}
        return others if others or below else None

    def note(self, recall: float) -> None:
        """Note that the recall was missed."""
        log.warning("recall@10 is %.3f with %s, below --target-recall: something else is tried", recall, self.name)
        note(self.notes, noted(self.notes) | {self.name: recall})


def continues(there: IndexRecord, numbers: NDArray[np.int32] | None) -> bool:
    """Whether an index numbers the vectors of its rows as `numbers` does, or each row by itself for None."""
    return there.n_vectors == (there.rows if numbers is None else int(numbers[: there.rows].max()) + 1)


def settled_for_less(there: IndexRecord) -> bool:
    """Whether auto kept an index below its target without trying another type, as it once did."""
    below = there.target_recall is not None and there.recall.get("10", 1.0) < there.target_recall
    return there.asked == "auto" and below and there.missed is None


def turns(layout: Layout, vectors: Vectors, request: Request, there: IndexRecord | None) -> Iterator[Turn]:
    """Yield what to build, until something is kept: of auto all types that fit, then the best of them once more.

    An index that is `there` is extended if it is of the type that is due, and was not trained for half as many.

    Raises:
        UsageError: as `choose`.
    """
    grown = there is not None and there.trained_for * _GROWN < vectors.n_rows
    notes = layout.store.local(layout.indexing) / f"missed-{_digest(vectors, request)}.json"
    before = (there.missed if there and not grown else None) or {}
    ladder = choices(vectors.n_rows, vectors.codec.dim, request, binary=vectors.binary)
    due = [choice for choice in ladder if choice.factory not in before] or ladder[-1:]
    tries: list[tuple[Choice, IndexRecord | None]] = []
    for choice in due:
        extends = there is not None and there.family == choice.family and not (grown and choice.n_lists)
        if there and extends:
            tries.append((_extended(choice, vectors, request, there), there))
            there = None
        if not extends or len(due) > 1:
            tries.append((choice, None))
    for choice, old in tries:
        turn = Turn(choice, old, len(tries) == 1, before | noted(notes), notes)
        if turn.name not in noted(notes):
            yield turn
    missed = noted(notes)
    last = [Turn(choice, old, True, before | missed, notes) for choice, old in tries]
    yield max(last, key=lambda turn: missed[turn.name])


def _extended(choice: Choice, vectors: Vectors, request: Request, there: IndexRecord) -> Choice:
    """Reckon with the lists that are held while they are merged."""
    if not choice.in_runs:
        return choice
    held, own = there.files["index.faiss"].bytes, replace(request, type=choice.factory)
    return replace(choose(vectors.n_rows, vectors.codec.dim, own, binary=vectors.binary, held=held), why=choice.why)


def _digest(vectors: Vectors, request: Request) -> str:
    asked = [request.type, request.target_recall, request.max_memory]
    about = [asked, *([part.name, part.sha256] for part in vectors.parts)]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:20]
