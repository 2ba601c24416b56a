"""What was seen of the source files before, so that a run over files that have not changed opens none of them."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from embed_corpus import __version__
from embed_corpus.source.inspect import Cut, Source, inspect

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from embed_corpus.source.discover import Found
    from embed_corpus.source.inspect import Columns

__all__ = ["Known", "inspect_known", "read_known", "to_json"]

_SETTLED_NS = 2_000_000_000
"""A file that changed this shortly before it was looked at may change again without its time telling."""

Known = dict[str, dict[str, Any]]
"""By path: size, mtime_ns, tag, cuts and types of kept columns of files that were inspected."""


def read_known(file: Path, columns: Columns) -> Known:
    """Return what was noted for these columns; nothing if there is no such note, or a damaged one."""
    try:
        content = json.loads(file.read_text(encoding="utf8"))
        return dict(content["sources"]) if content["for"] == _meant_for(columns) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def inspect_known(found: Found, columns: Columns, known: Known) -> Source:
    """Do what `inspect` does, by what is known if the file has the same size and time as then.

    Raises:
        DataError: as `inspect` does.
    """
    entry = known.get(found.path)
    if entry is not None:
        try:
            stat = os.stat(found.path)  # noqa: PTH116  # a Path for each of 100,000 files takes its time
            if (stat.st_size, stat.st_mtime_ns) == (entry["size"], entry["mtime_ns"]):
                return _source(found, entry)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            pass  # then it is looked at
    return inspect(found, columns)


def to_json(sources: Iterable[Source], columns: Columns, looked_at: int | None = None) -> dict[str, Any]:
    """Return the content of the note; `looked_at` is the time in ns at which inspecting began (None: now)."""
    latest = (time.time_ns() if looked_at is None else looked_at) - _SETTLED_NS
    entries = {source.path: _entry(source) for source in sources if source.mtime_ns < latest}
    return {"for": _meant_for(columns), "sources": entries}


def _meant_for(columns: Columns) -> dict[str, Any]:
    """Return what a note hangs on beside the files: another version may cut them otherwise."""
    return {"version": __version__, "columns": [list(columns.text), columns.id, list(columns.keep)]}


def _entry(source: Source) -> dict[str, Any]:
    types = pa.schema(list(source.keep_types.items())).serialize().to_pybytes() if source.keep_types else b""
    return {
        "size": source.size,
        "mtime_ns": source.mtime_ns,
        "tag": source.tag,
        "cuts": [[cut.first_row, cut.n_rows, cut.offset] for cut in source.cuts],
        "types": base64.b64encode(types).decode("ascii"),
    }


def _source(found: Found, entry: dict[str, Any]) -> Source:
    types = base64.b64decode(entry["types"])
    schema = pa.ipc.read_schema(pa.BufferReader(types)) if types else pa.schema([])
    return Source(
        found.path,
        found.relative,
        int(entry["size"]),
        int(entry["mtime_ns"]),
        str(entry["tag"]),
        tuple(Cut(*map(int, cut)) for cut in entry["cuts"]),
        dict(zip(schema.names, schema.types, strict=True)),
    )
