"""What a result lacks of its input, where it is so much that something is wrong with all of it."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from embed_corpus.data import Counts, Reason
from embed_corpus.errors import BudgetError
from embed_corpus.job.options.input import parse_share
from embed_corpus.report.clean import clean
from embed_corpus.sink.snapshot import latest_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from embed_corpus.job.prepare import Job
    from embed_corpus.sink.snapshot import PartEntry

__all__ = ["mostly_rejected", "nothing_left", "warn_of_losses"]

log = logging.getLogger("embed_corpus")

_NAMED = 5
"""Files that are named; of the others their number is told."""


def nothing_left(job: Job, total: Counts) -> BudgetError | None:
    """Say why a result without a document is none; None if it has some, or there never was a row."""
    if total.documents:
        return None
    total = _standing(total)
    before = latest_snapshot(job.layout)
    kept = f" Snapshot {before.number} with {before.counts.documents:,} documents stays." if before else ""
    if not total.rows:
        if before is None or not before.counts.documents:
            return None
        return BudgetError(f"the input holds no row any more, so nothing is published.{kept} Is it the right INPUT?")
    return BudgetError(
        f"not one of {total.rows:,} rows became a document ({_reasons(total)}), so nothing is published.{kept} "
        f"{_likely(job, total)} See `embed-corpus status {job.config.out} --rejects`."
    )


def mostly_rejected(job: Job, total: Counts) -> BudgetError | None:
    """Refuse a small result that lost more than half of its rows to the ten rejects that always may be."""
    total = _standing(total)
    if total.budgeted <= max(total.rows / 2, total.rows * parse_share(job.config.max_rejects)):
        return None
    return BudgetError(
        f"{total.budgeted:,} of {total.rows:,} rows were rejected ({_reasons(total)}): more than half, so nothing is "
        f"published. See `embed-corpus status {job.config.out} --rejects`; correct the rows, or allow as many with "
        "--max-rejects."
    )


def warn_of_losses(job: Job, parts: Sequence[PartEntry]) -> None:
    """Name the files that gave no document, and say so where most texts are empty, in all or in a file."""
    source_of = {shard.part_name: shard.source for shard in job.plan.shards}
    files: dict[str, list[Counts]] = defaultdict(list)
    for part in parts:
        files[source_of[part.name]].append(part.counts)
    whole = {file: sum(of_parts, start=Counts()) for file, of_parts in files.items()}
    counts = {file: _standing(count) for file, count in whole.items()}
    total = sum(counts.values(), start=Counts())
    if not any(count.rows for count in whole.values()):
        log.warning("no source file holds a row: %s", ", ".join(sorted(counts)[:_NAMED]))
        return
    silent = [file for file, count in counts.items() if count.rows and not count.documents]
    _name(job, silent, counts, "no document came of")
    if _mostly_empty(total):
        log.warning(
            "%s of %s texts are empty (%s): is it the right column?",
            f"{total.rejects[Reason.EMPTY]:,}",
            f"{total.rows:,}",
            _columns(job),
        )
    elif len(counts) > 1:
        poor = [file for file, count in counts.items() if count.documents and _mostly_empty(count)]
        _name(job, poor, counts, f"most texts are empty ({_columns(job)}) in")


def _name(job: Job, files: Sequence[str], counts: dict[str, Counts], what: str) -> None:
    told = [f"{clean(file)} ({counts[file].rows:,} rows: {_reasons(counts[file])})" for file in files[:_NAMED]]
    more = f" and {len(files) - _NAMED:,} files more" if len(files) > _NAMED else ""
    if told:
        log.warning("%s %s%s: see `embed-corpus status %s --rejects`", what, ", ".join(told), more, job.config.out)


def _standing(counts: Counts) -> Counts:
    """Leave the superseded rows out: each has a later one in its place, none is lost."""
    rejects = {reason: n for reason, n in counts.rejects.items() if reason != Reason.SUPERSEDED}
    return replace(counts, rows=counts.rows - counts.rejects.get(Reason.SUPERSEDED, 0), rejects=rejects)


def _mostly_empty(counts: Counts) -> bool:
    return counts.rejects.get(Reason.EMPTY, 0) > counts.rows / 2


def _reasons(counts: Counts) -> str:
    return ", ".join(f"{reason} {n:,}" for reason, n in counts.rejects.items())


def _columns(job: Job) -> str:
    names = job.config.text_column
    return f"text column{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"


def _likely(job: Job, total: Counts) -> str:
    """Name the likely cause, by the reason that most rows have."""
    most = max(total.rejects, key=lambda reason: total.rejects[reason])
    hints: dict[str, str] = {
        Reason.EMPTY: f"{_columns(job).capitalize()}: null, missing or blank in every row. Is it the right one, and "
        "what went wrong where it is written?",
        Reason.BAD_JSON: "Are these JSON lines, one object a line?",
        Reason.INVALID_UTF8: "Is the text UTF-8? Convert it (`iconv -t UTF-8`).",
        Reason.WRONG_TYPE: f"{_columns(job).capitalize()} or the id is of another type: name another column.",
        Reason.NO_ID: f"Id column {job.config.id_column!r} is null: name another with --id-column, or none.",
    }
    return hints.get(most, "Is it the right column?")
