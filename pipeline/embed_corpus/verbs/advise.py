"""Try dimensions, vector types and indexes on a sample of a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embed_corpus.errors import UsageError
from embed_corpus.index.advise import Advice
from embed_corpus.index.advise import advise as tried
from embed_corpus.index.check import check_faiss, check_indexable
from embed_corpus.index.choose import Request
from embed_corpus.index.rows import open_vectors
from embed_corpus.job.output import open_output
from embed_corpus.sink.snapshot import latest_snapshot

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["Advice", "advise"]


def advise(
    out: str | os.PathLike[str],
    sample: int = 5000,
    *,
    target_recall: float = 0.95,
    model: str | None = None,
    tell: Callable[[Advice], object] | None = None,
) -> tuple[Advice, ...]:
    """Tell what each dimension, vector type and index would find, take and answer, tried on `sample` vectors.

    Args:
        out: the OUT of a run.
        sample: vectors to try it on, 1,000 or more.
        target_recall: share of the 10 nearest that an index is tuned to find.
        model: where the job's model lies now, if it has moved.
        tell: called with each combination as soon as it was tried.

    Raises:
        UsageError: the folder is no OUT, has no snapshot with vectors yet, or too few; or FAISS is not installed.
    """
    check_faiss()
    opened = open_output(Path(out))
    snapshot = latest_snapshot(opened.layout)
    if snapshot is None or not snapshot.counts.chunks:
        raise UsageError(f"{out} has no snapshot with vectors yet: let the run come to its end first.")
    facts = opened.facts(model)
    check_indexable(facts.similarity, Request(target_recall=target_recall), facts.dim)
    vectors = open_vectors(opened.layout, snapshot.parts, facts.similarity, normalized=facts.normalize)
    found = []
    for advice in tried(vectors, sample, target_recall):
        if tell is not None:
            tell(advice)
        found.append(advice)
    return tuple(found)
