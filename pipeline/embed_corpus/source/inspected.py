"""What was seen of the source files before, so that a run over files that have not changed opens none of them."""

from __future__ import annotations

import base64
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from embed_corpus import __version__
from embed_corpus.source.formats.base import Cut, Source
from embed_corpus.source.inspect import inspect
from embed_corpus.store.notes import read_json

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from embed_corpus.source.columns import Columns
    from embed_corpus.source.discover import Found
    from embed_corpus.store.layout import Layout

__all__ = ["Known", "inspect_known", "is_noted", "read_known", "to_json"]

_SETTLED_NS = 2_000_000_000
"""A file that changed this shortly before it was looked at may change again without its time telling."""

Known = dict[str, dict[str, Any]]
"""By path: size, times, tag, cuts and types of kept columns of files that were inspected."""


def read_known(layout: Layout, columns: Columns) -> Known:
    """Return what OUT has noted for these columns; nothing if there is no such note, or a damaged one.

    Of another version's note the cuts are left out, so that the files are inspected again: it may cut them otherwise.
    """
    try:
        content = read_json(layout, layout.sources)
        theirs, ours = content["for"], _meant_for(columns)
        known = {path: dict(entry) for path, entry in content["sources"].items()}
        if theirs["columns"] != ours["columns"]:
            return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    if theirs != ours:
        for entry in known.values():
            entry.pop("cuts", None)
    return known


def inspect_known(found: Found, columns: Columns, known: Known) -> Source:
    """Do what `inspect` does, by what is known if the file has the same size and times as then.

    Raises:
        DataError: as `inspect` does.
    """
    try:
        stat = os.stat(found.path)  # noqa: PTH116  # a Path for each of 100,000 files takes its time
    except (OSError, ValueError):
        return inspect(found, columns)  # which tells why
    entry = known.get(found.path)
    if entry is not None and _is_same(entry, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns):
        try:
            return _source(found, entry, stat.st_ctime_ns)
        except (ValueError, KeyError, TypeError, pa.ArrowException):
            pass  # then it is looked at
    return replace(inspect(found, columns), ctime_ns=stat.st_ctime_ns)  # of before: what changes meanwhile shows


def is_noted(source: Source, known: Known) -> bool:
    """Tell whether a file has the size and the times that are noted of it: then its content is what it was."""
    entry = known.get(source.path)
    return entry is not None and _is_same(entry, source.size, source.mtime_ns, source.ctime_ns)


def _is_same(entry: dict[str, Any], size: int, mtime_ns: int, ctime_ns: int) -> bool:
    """Compare with an entry; those of earlier versions do not tell the time of change, which no program can set."""
    return (size, mtime_ns, ctime_ns) == (
        entry.get("size"),
        entry.get("mtime_ns"),
        entry.get("ctime_ns", ctime_ns),
    )


def to_json(
    sources: Iterable[Source], columns: Columns, looked_at: int | None = None, unsure: Container[str] = ()
) -> dict[str, Any]:
    """Return the content of the note; `looked_at` is the time in ns at which inspecting began (None: now).

    What changed just before is left out, and so are the paths of which it is `unsure` what their tags stand for.
    """
    latest = (time.time_ns() if looked_at is None else looked_at) - _SETTLED_NS
    settled = (s for s in sources if (s.ctime_ns or s.mtime_ns) < latest and s.path not in unsure)
    return {"for": _meant_for(columns), "sources": {source.path: _entry(source) for source in settled}}


def _meant_for(columns: Columns) -> dict[str, Any]:
    """Return what a note depends on beside the files: another version may cut them otherwise."""
    chosen = [dict(columns.types)] if columns.types else []
    return {"version": __version__, "columns": [list(columns.text), columns.id, list(columns.keep), *chosen]}


def _entry(source: Source) -> dict[str, Any]:
    types = pa.schema(list(source.keep_types.items())).serialize().to_pybytes() if source.keep_types else b""
    return {
        "size": source.size,
        "mtime_ns": source.mtime_ns,
        "ctime_ns": source.ctime_ns,
        "tag": source.tag,
        "cuts": [[cut.first_row, cut.n_rows, cut.offset] for cut in source.cuts],
        "types": base64.b64encode(types).decode("ascii"),
        "columns": [source.kinds, source.lacks, source.names, source.from_folder],
    }


def _source(found: Found, entry: dict[str, Any], ctime_ns: int) -> Source:
    types = base64.b64decode(entry["types"])
    schema = pa.ipc.read_schema(pa.BufferReader(types)) if types else pa.schema([])
    lacks, names, from_folder = (tuple(map(str, names)) for names in entry["columns"][1:])
    return Source(
        found.path,
        found.relative,
        int(entry["size"]),
        int(entry["mtime_ns"]),
        str(entry["tag"]),
        tuple(Cut(*map(int, cut)) for cut in entry["cuts"]),
        dict(zip(schema.names, schema.types, strict=True)),
        ctime_ns,
        {name: tuple(map(str, kinds)) for name, kinds in entry["columns"][0].items()},
        lacks,
        names,
        from_folder,
        found.format,
    )
