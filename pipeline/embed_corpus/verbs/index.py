"""Build the index of a finished result, or extend it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from embed_corpus.errors import UsageError
from embed_corpus.index.build import build_index as build
from embed_corpus.index.check import check_faiss
from embed_corpus.index.choose import Request, parse_bytes
from embed_corpus.job.output import open_output
from embed_corpus.sink.snapshot import latest_snapshot

if TYPE_CHECKING:
    import os

    from embed_corpus.index.schema import IndexRecord

__all__ = ["IndexReport", "build_index"]


@dataclass(frozen=True, slots=True)
class IndexReport:
    """An index as it stands in OUT.

    Attributes:
        folder: where it lies.
        type: its FAISS factory string.
        rows: chunks that it finds.
        vectors: the different ones among their vectors; None where equal ones are held apart.
        effort: what it is tuned to, by FAISS' names.
        recall: share of the 1, 10 and 100 nearest of exact search that it finds, measured.
        queries_per_second: on one thread, in batches.
        bytes_in_memory: what it takes when it is searched.
    """

    folder: Path
    type: str
    rows: int
    vectors: int | None
    effort: dict[str, int]
    recall: dict[int, float]
    queries_per_second: int
    bytes_in_memory: int

    def lines(self) -> list[str]:
        """Return the closing lines of the command."""
        effort = "".join(f", {name} {value}" for name, value in self.effort.items())
        held = f"{self.rows:,} vectors"
        if self.vectors is not None:
            held = f"{self.vectors:,} different vectors of {self.rows:,} chunks"
        recall = self.recall
        speed = f"{self.queries_per_second:,} queries/s on one thread; {self.bytes_in_memory / (1 << 20):,.0f} MiB"
        return [
            f"{self.type} of {held} in {self.folder}{effort}",
            f"recall@1 {recall[1]:.3f}, @10 {recall[10]:.3f}, @100 {recall[100]:.3f} of exact search; {speed}",
        ]


def build_index(
    out: str | os.PathLike[str],
    kind: str = "auto",
    *,
    max_memory: str = "8GB",
    target_recall: float = 0.95,
    gpu: str = "auto",
    model: str | None = None,
    progress: TextIO | None = None,
) -> IndexReport | None:
    """Build the index of an OUT, or extend it by the parts that are new; measure it and tune it.

    Stopped at any time, the same call goes on where it was.

    Args:
        out: the OUT of a run that came to its end.
        kind: auto, flat, hnsw, ivf, ivfpq, or a FAISS factory string.
        max_memory: what building may take, such as "8GB"; lists go to disk.
        target_recall: share of the 10 nearest that it shall find; where auto's type misses it, the next is built.
        gpu: auto, on or off: train and add on GPUs, where faiss-gpu is installed.
        model: where the job's model lies now, if it has moved.
        progress: where a bar is drawn if it is a terminal.

    Returns:
        What was built, or was there already; None if there are no vectors.

    Raises:
        UsageError: the folder is no OUT, it has no snapshot yet, or the type does not fit.
        OutputError: the index cannot be written, or a part is damaged.
    """
    request = Request(kind, parse_bytes(max_memory), target_recall, gpu)
    opened = open_output(Path(out))
    snapshot = latest_snapshot(opened.layout)
    if snapshot is None:
        raise UsageError(f"{out} has no snapshot yet: let the run come to its end first.")
    check_faiss()
    facts = opened.facts(model)
    similarity, unit = facts.similarity, facts.normalize
    made = build(opened.layout, snapshot, request, similarity=similarity, normalized=unit, stream=progress)
    return None if made is None else _report(opened.layout.store.local(opened.layout.index), made)


def _report(folder: Path, made: IndexRecord) -> IndexReport:
    return IndexReport(
        folder=folder,
        type=made.type,
        rows=made.rows,
        vectors=made.vectors,
        effort=made.effort,
        recall={int(k): share for k, share in made.recall.items()},
        queries_per_second=made.queries_per_second["batch_on_one_thread"],
        bytes_in_memory=made.bytes_in_memory,
    )
