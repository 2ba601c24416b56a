"""Whether all that was done makes a result: only that becomes a snapshot."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from embed_corpus.data import Counts, Reason
from embed_corpus.errors import BudgetError, DataError, EmbedCorpusError
from embed_corpus.execution.losses import mostly_rejected, nothing_left, warn_of_losses
from embed_corpus.sink.duplicates import repeated_ids
from embed_corpus.sink.snapshot import latest_snapshot

if TYPE_CHECKING:
    from embed_corpus.job.prepare import Job
    from embed_corpus.sink.snapshot import PartEntry

__all__ = ["problem_with", "stop_if_hopeless"]

log = logging.getLogger("embed_corpus")

_ROWS_TO_JUDGE, _HOPELESS = 10_000, 0.1


def problem_with(job: Job, parts: list[PartEntry], failed: list[str]) -> EmbedCorpusError | None:
    """Say why a result is not complete or not good enough, None if it is; `failed` says it of shards."""
    if failed:
        return DataError(
            f"{len(failed)} of {len(job.plan.shards)} shards could not be embedded, all others are done:\n"
            + "\n".join(failed[:10])
        )
    if len(parts) < len(job.plan.shards):
        return EmbedCorpusError(
            f"{len(job.plan.shards) - len(parts)} parts are gone from {job.layout.data} though their shards were done: "
            "something else deletes there. Run the same line again."
        )
    total = sum((part.counts for part in parts), start=Counts())
    if nothing := nothing_left(job, total):
        return nothing
    warn_of_losses(job, parts)
    allowed = job.config.rejects_allowed(total.rows)
    if total.budgeted > allowed:
        return BudgetError(
            f"{total.budgeted:,} of {total.rows:,} rows were rejected ({_reasons(total)}), {allowed:,} are allowed by "
            f"--max-rejects {job.config.max_rejects}. All others are embedded, but no snapshot is published. "
            f"See `embed-corpus status {job.config.out} --rejects`; correct the rows, or allow more and run again."
        )
    return mostly_rejected(job, total) or _repeated(job, parts)


def stop_if_hopeless(job: Job, seen: Counts) -> None:
    """End a run early that rejects so much that something is wrong with all of it: a column, an encoding.

    Raises:
        BudgetError: of 10,000 rows or more, more than a tenth was rejected, and more than the whole run may.
    """
    if (
        seen.rows < _ROWS_TO_JUDGE
        or seen.budgeted <= seen.rows * _HOPELESS
        or seen.budgeted <= job.config.rejects_allowed(job.plan.rows)
    ):
        return
    raise BudgetError(
        f"stopped early: {seen.budgeted:,} of the first {seen.rows:,} rows were rejected ({_reasons(seen)}), more than "
        f"--max-rejects {job.config.max_rejects} allows of all {job.plan.rows:,}. Is it the right column? See "
        f"`embed-corpus status {job.config.out} --rejects` for those of finished parts."
    )


def _reasons(counts: Counts) -> str:
    return ", ".join(f"{reason} {n:,}" for reason, n in counts.rejects.items() if reason != Reason.EMPTY)


def _repeated(job: Job, parts: list[PartEntry]) -> DataError | None:
    """Report ids that stand in several shards of a new result, or (if so asked) make them a problem."""
    last = latest_snapshot(job.layout)
    reported = job.config.on_duplicate == "report" and last is not None and last.parts == tuple(parts)
    if job.config.on_duplicate == "ignore" or reported:
        return None
    count, examples = repeated_ids(job.layout, [part.name for part in parts])
    if not count:
        return None
    text = f"{count:,} documents have an id that stands in another shard too, e.g. {', '.join(map(repr, examples))}"
    if job.config.on_duplicate == "error":
        return DataError(f"{text}. Everything is embedded, but no snapshot is published: correct the ids.")
    log.warning("%s (--on-duplicate error refuses that)", text)
    return None
