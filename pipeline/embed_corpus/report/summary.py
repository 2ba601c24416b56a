"""The report of a finished run, for people and for machines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from embed_corpus.report.clean import clean
from embed_corpus.report.stats import WorkerStats, verdict

if TYPE_CHECKING:
    from pathlib import Path

    from embed_corpus.data import Counts

__all__ = ["Loss", "RunReport", "bad_file_lines", "count_lines", "unknown_line"]


@dataclass(frozen=True, slots=True)
class Loss:
    """What a vector type cost: the share of the 10 nearest neighbours that a sample of so many vectors keeps."""

    vector_type: str
    neighbours_at_10: float
    sample: int

    def line(self) -> str:
        """Say so."""
        return (
            f"{self.vector_type}: {self.neighbours_at_10:.1%} of the 10 nearest neighbours are those of float32 "
            f"(among {self.sample:,} vectors of this run)"
        )


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did.

    Attributes:
        output: OUT.
        total: counts over all parts of the plan.
        fresh: counts of what this run embedded itself.
        parts, fresh_parts: parts of the plan that are there, and those this run committed.
        planned: shards of the plan.
        elapsed: seconds from the first worker's readiness to the last commit.
        predicted: seconds for as many tokens at the speed known before; None if none was.
        workers: what each worker spent its time on.
        numerics: what can change a vector's bits.
        snapshot: number of the snapshot; None if none was published.
        index: vectors in the index; None without one.
        bad_files: source files left out because they cannot be read, each with the reason.
        loss: what the vector type cost; None for float32, and where nothing was embedded.
        problems: why the run is not complete, one sentence each; empty if it is.
    """

    output: Path
    total: Counts
    fresh: Counts
    parts: int
    fresh_parts: int
    planned: int
    elapsed: float
    workers: tuple[WorkerStats, ...]
    numerics: dict[str, Any]
    predicted: float | None = None
    snapshot: int | None = None
    index: int | None = None
    bad_files: dict[str, str] = field(default_factory=dict)
    loss: Loss | None = None
    problems: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the content of the run report under OUT."""
        return asdict(self) | {"output": str(self.output), "verdict": verdict(list(self.workers))}

    def lines(self) -> list[str]:
        """Return the closing lines of the command."""
        return [
            *count_lines(self.total),
            *bad_file_lines(self.bad_files),
            *self._speed_lines(),
            self._result_line(),
        ]

    def _speed_lines(self) -> list[str]:
        if not self.fresh_parts:
            return [f"nothing to do: all {self.parts} parts were there already"] if not self.problems else []
        names = dict.fromkeys(name for worker in self.workers for name in worker.seconds)
        stages = ", ".join(f"{n} {sum(w.seconds.get(n, 0.0) for w in self.workers):.1f}" for n in names)
        reused = sum(worker.reused for worker in self.workers)
        rate = max(self.fresh.tokens - reused, 0) / max(self.elapsed, 1e-9)
        speed = f"{rate:,.0f} tokens/s, {self.fresh.documents / max(self.elapsed, 1e-9):,.1f} documents/s"
        taken = [f"vectors of {reused:,} tokens were taken over from earlier parts"] if reused else []
        lines = [*taken, f"{speed} over {self.elapsed:.1f} s{self._against()} (seconds by stage: {stages})"]
        lines += [*(worker.line() for worker in self.workers), *filter(None, [verdict(list(self.workers))])]
        return [*lines, self.loss.line()] if self.loss else lines

    def _against(self) -> str:
        """Compare with what the speed known before would have taken."""
        return f", {self.predicted:.1f} s at the speed known before" if self.predicted is not None else ""

    def _result_line(self) -> str:
        where = f"result: {self.output / 'data'}: {self.parts} of {self.planned} parts, {self.fresh_parts} of them new"
        if self.snapshot is not None:
            where += f"; snapshot {self.snapshot}"
        if self.index is not None:
            where += f"; index of {self.index:,} vectors in {self.output / 'index'}"
        return where


def bad_file_lines(bad: dict[str, str]) -> list[str]:
    """List the source files that the result lacks because they cannot be read, if there are any."""
    if not bad:
        return []
    return [f"{len(bad):,} source files are left out:", *(f"  {clean(reason)}" for reason in bad.values())]


def unknown_line(counts: Counts) -> str:
    """Say how many chunks tell the model nothing; empty if there are none."""
    if not counts.unknown:
        return ""
    return (
        f"{counts.unknown:,} chunks hold nothing but what is unknown to the model's tokenizer, e.g. of "
        f"{counts.unknown_in!r}: all such chunks have one and the same vector, or nearly so."
    )


def count_lines(counts: Counts) -> list[str]:
    """Say what became of the rows, in one to three lines."""
    lines = [
        f"{counts.rows:,} rows: {counts.documents:,} documents in {counts.chunks:,} chunks of "
        f"{counts.tokens:,} tokens, {counts.rejected:,} rejects"
        + (f" ({', '.join(f'{reason} {n:,}' for reason, n in counts.rejects.items())})" if counts.rejects else "")
    ]
    if counts.truncated:
        lines.append(f"{counts.truncated:,} documents were cut off at the chunk limit (--long truncate)")
    if counts.cut_words:
        lines.append(f"{counts.cut_words:,} chunks end inside a word longer than the chunk limit")
    return lines
