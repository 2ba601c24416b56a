"""Queries in a file: ids and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from embed_corpus.errors import DataError
from embed_corpus.source.formats.table import ENDINGS, format_named, format_of
from embed_corpus.source.lines import BadLineError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_queries"]

_TEXT, _ID = ("text", "query", "question"), ("id", "_id", "query_id", "qid")


def read_queries(file: Path) -> tuple[list[str], list[str]]:
    """Read ids and texts of queries from a file of any format: `text` (or `query`) and `id` (or `_id`, `query_id`).

    Without ids they are numbered from 0.

    Raises:
        DataError: the file cannot be read, or a row has no text.
    """
    form = format_of(file)
    if form is None:
        raise DataError(f"{file}: its ending does not tell its format. Read are {ENDINGS}: give it one of these.")
    try:
        found = list(format_named(form).records(file))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    except BadLineError as error:
        raise DataError(f"{file} is no JSONL file of queries: {error}") from error
    places, rows = [place for place, _ in found], [row for _, row in found]
    if not rows:
        raise DataError(f"{file} holds no query.")
    text = next((name for name in _TEXT if name in rows[0]), None)
    name = next((name for name in _ID if name in rows[0]), None)
    if text is None:
        raise DataError(f"{file} has no column {' or '.join(_TEXT)}; there are {', '.join(rows[0])}.")
    for place, row in zip(places, rows, strict=True):
        if not isinstance(row.get(text), str) or not row[text].strip():
            raise DataError(f"{file}, {place}: the query is empty, or no text, in {text!r}.")
        if name is not None and not _tells(row.get(name)):
            raise DataError(f"{file}, {place}: no text or number in {name!r}.")
    return [str(row[name]) if name else str(i) for i, row in enumerate(rows)], [row[text] for row in rows]


def _tells(name: object) -> bool:
    """Whether an id can be written: half a surrogate pair cannot."""
    return isinstance(name, int | float) or (isinstance(name, str) and name == name.encode(errors="ignore").decode())
