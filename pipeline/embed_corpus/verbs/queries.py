"""Queries in a file: ids and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.errors import DataError
from embed_corpus.source.formats import kind_at
from embed_corpus.source.jsonl import BadLineError, lines, open_stream, parse

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_queries"]

_TEXT, _ID = ("text", "query", "question"), ("id", "_id", "query_id", "qid")


def read_queries(file: Path) -> tuple[list[str], list[str]]:
    """Read ids and texts of queries from Parquet or JSONL: `text` (or `query`) and `id` (or `_id`, `query_id`).

    Without ids they are numbered from 0.

    Raises:
        DataError: the file cannot be read, or a row has no text.
    """
    try:
        if kind_at(file) == "parquet":
            with file.open("rb") as source:  # Arrow itself takes no path that is no UTF-8
                rows = pq.read_table(source).to_pylist()
            places = [f"row {i}" for i in range(len(rows))]
        else:
            with open_stream(file) as stream:
                numbered = [
                    (f"line {i + 1}", parse(line, first=i == 0))
                    for i, (line, _) in enumerate(lines(stream))
                    if line is None or line.strip()
                ]
            places, rows = [place for place, _ in numbered], [row for _, row in numbered]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    except BadLineError as error:
        raise DataError(f"{file} is no JSONL file of queries: {error}") from error
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
