"""What is read, and which of its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Literal

from embed_corpus.errors import UsageError
from embed_corpus.job.options.option import Option
from embed_corpus.source.columns import Columns
from embed_corpus.source.formats.table import FORMATS

__all__ = ["Input", "OnDuplicate", "check_input", "parse_share", "refuse_url"]

OnDuplicate = Literal["report", "error", "ignore", "last"]

_URL = re.compile(r"(?i)[a-z][a-z0-9+.-]+:/")
"""One slash: a Path has lost the other."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """What is read, which of its rows and columns, and what is done about those that do not fit."""

    input: Annotated[
        tuple[str, ...],
        Option("Files, folders and globs of what is to be embedded; in a job file relative to it.", flag=False),
    ] = field(default=(), kw_only=False)
    format: Annotated[
        str | None,
        Option(
            "Read files of INPUT as this whose endings say nothing (`part-00000`).",
            shown="leave them out",
            choices=FORMATS,
            also="plan",
        ),
    ] = None
    text_column: Annotated[
        tuple[str, ...],
        Option(
            "Column that holds the text, also one inside a struct (doc.text); repeatable: joined with a blank "
            "line, as a list of texts is.",
            "COLUMN",
            shown="text",
            also="plan bench",
        ),
    ] = ("text",)
    id_column: Annotated[
        str | None,
        Option(
            "Column that holds the document's id.",
            "COLUMN",
            shown="made up: <path relative to INPUT>#<row>",
            also="plan",
        ),
    ] = None
    keep: Annotated[
        tuple[str, ...],
        Option(
            "Input column, or key of folders such as lang=de/, to carry over into the parts; repeatable.",
            "COLUMN",
            also="plan",
        ),
    ] = ()
    keep_type: Annotated[
        tuple[str, ...],
        Option(
            "Keep a column as text, int64, double or bool; repeatable.",
            "COLUMN=TYPE",
            shown="the type that holds all its values",
            also="plan",
        ),
    ] = ()
    partition_types: Annotated[
        bool,
        Option("Kept keys of folders are whole numbers or dates where all are.", also="plan"),
    ] = False
    strict_schema: Annotated[
        bool,
        Option(
            "Refuse files that lack a column (null there, otherwise) or have a kept one in another type (widened).",
            also="plan",
        ),
    ] = False
    limit: Annotated[
        int | None,
        Option("Stop after the first N rows of the input.", "N", least=1, also="plan"),
    ] = None
    max_rejects: Annotated[
        str,
        Option(
            "Rows that may be rejected (10 always may, up to half of all; empty texts do not count). 0: none.", "SHARE"
        ),
    ] = "0.1%"
    max_bad_files: Annotated[
        int,
        Option(
            "Leave out up to N files that cannot be read at all: damaged, cut short, not what their name says. "
            "Each is named; once repaired, the next run embeds it.",
            "N",
            least=0,
            also="plan",
        ),
    ] = 0
    on_duplicate: Annotated[
        OnDuplicate,
        Option(
            "Ids that stand in several shards; within a shard later rows are rejects. last: of all rows of an id "
            "the newest alone stands, the last by path, then row, even if its text is empty (made-up ids never "
            "repeat)."
        ),
    ] = "report"
    strict: Annotated[
        bool,
        Option(
            "No reject but empty texts, no file left out, no id twice, no column missing: --max-rejects 0 "
            "--max-bad-files 0 --on-duplicate error --strict-schema."
        ),
    ] = False
    paranoid: Annotated[
        bool,
        Option(
            "Compare the content of every source with what was embedded, also of files whose size and times stayed."
        ),
    ] = False
    retry_rejects: Annotated[
        bool,
        Option("Try the rows again that were rejected (but for empty texts); what is embedded keeps its vectors."),
    ] = False
    reject_bytes: Annotated[
        int,
        Option("Put the first N bytes of a rejected text on record with it (1024 at most).", "N", least=0),
    ] = 0

    @property
    def columns(self) -> Columns:
        """The input columns that are read."""
        types = tuple((name, kind) for name, _, kind in (text.rpartition("=") for text in self.keep_type))
        names = tuple(self.text_column), self.id_column, tuple(self.keep)
        return Columns(*names, types, self.strict_schema, self.partition_types)

    def rejects_allowed(self, rows: int) -> int:
        """Rows that may be rejected: the share asked for, and 10 at least (unless the share is 0)."""
        share = parse_share(self.max_rejects)
        return max(10, int(rows * share)) if share else 0


def check_input(asked: Input) -> None:
    """Check what no single value tells.

    Raises:
        UsageError: an option has a value that cannot be, or two contradict each other.
    """
    for text in asked.input:
        refuse_url("INPUT", text)
    if not asked.text_column:
        raise UsageError("no text column: name at least one with --text-column.")
    if asked.keep:
        from embed_corpus.sink.parts import RESERVED

        if taken := [name for name in asked.keep if name in RESERVED]:
            hint = " Use --keep-text for the text of each chunk." if "text" in taken else ""
            raise UsageError(f"--keep {taken[0]}: a part has a column of that name of its own.{hint}")
    from embed_corpus.data import SHOWN_BYTES

    if asked.reject_bytes > SHOWN_BYTES:
        raise UsageError(f"--reject-bytes {asked.reject_bytes}: at most {SHOWN_BYTES}.")
    parse_share(asked.max_rejects)
    if asked.keep_type:
        _check_keep_types(asked)


def _check_keep_types(asked: Input) -> None:
    from embed_corpus.source.kept import KEEP_TYPES

    for text in asked.keep_type:
        name, _, kind = text.rpartition("=")
        if not name or kind not in KEEP_TYPES:
            raise UsageError(f"--keep-type {text!r}: give COLUMN=TYPE with TYPE one of {', '.join(KEEP_TYPES)}.")
        if name not in asked.keep:
            raise UsageError(f"--keep-type {text!r}: column {name!r} is not kept. Add --keep {name}.")
    if len(dict(asked.columns.types)) < len(asked.keep_type):
        raise UsageError("--keep-type names a column twice: give it one type.")


def refuse_url(what: str, text: str) -> None:
    """Refuse a place that is none of this machine.

    Raises:
        UsageError: it is a URL.
    """
    if _URL.match(text):
        raise UsageError(f"{what} {text} is a URL: name files or folders of this machine, e.g. of a mount.")


def parse_share(text: str) -> float:
    """Parse "0.1%" or "0.001" to 0.001.

    Raises:
        UsageError: no number, or none between 0 and 100 %.
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"--max-rejects {text!r}: give a share such as 0.1% or 0.001.")
    return share
