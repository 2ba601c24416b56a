"""JSONL: one JSON object a line, plain or packed as a whole."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embed_corpus.data import SHOWN_BYTES, Reject
from embed_corpus.firstbytes import ENOUGH, other_kind
from embed_corpus.source.checks import missing_of
from embed_corpus.source.fields import ABSENT, value_of
from embed_corpus.source.fit import as_id, as_kept, as_text
from embed_corpus.source.formats import base
from embed_corpus.source.formats.base import (
    Cut,
    RawRows,
    Source,
    UnreadableError,
    Wanted,
    refused,
)
from embed_corpus.source.kinds import KindScan, kept_value
from embed_corpus.source.lines import BadLineError, lines, open_stream, parse
from embed_corpus.source.objects import Objects
from embed_corpus.source.partitions import folder_keys, folder_value
from embed_corpus.unpacked import left_behind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from embed_corpus.data import Shard
    from embed_corpus.source.columns import Columns
    from embed_corpus.source.discover import Found
    from embed_corpus.source.formats.base import BlockSize, Span

__all__ = ["inspect", "places", "records", "rows", "spans"]

log = logging.getLogger("embed_corpus")

_SAMPLED_LINES = 100
"""Lines that are parsed to tell which columns exist."""


def inspect(found: Found, columns: Columns) -> Source:
    """Read every line: count them, and see what values the columns hold."""
    stat = Path(found.path).stat()
    digest = blake2b(digest_size=16)
    cuts: list[Cut] = []
    seen: dict[str, None] = {}
    look = Objects()
    first = rows = begin = end = 0
    keys = folder_keys(found.relative) if columns.keep else {}
    chosen = {name for name, kind in columns.types if kind == "text"}  # any value is
    scanned = tuple(name for name in columns.keep if name not in chosen or name in keys)
    scan = KindScan(scanned, each_line=not keys.keys().isdisjoint(scanned))
    with open_stream(Path(found.path)) as stream:
        if told := other_kind(stream.peek(ENOUGH)[:ENOUGH], "json"):
            raise UnreadableError(refused(found, f"inside it is {told}"))
        for line, n_bytes in lines(stream):
            if rows and (rows == base.SHARD_ROWS or end + n_bytes - begin > base.SHARD_BYTES):
                cuts.append(Cut(first, rows, begin))
                first, rows, begin = first + rows, 0, end
            if first + rows < _SAMPLED_LINES or not look.any:
                seen |= dict.fromkeys(look.keys(line, first + rows, columns.all))
            else:  # further down a rare column is looked for without parsing every line
                seen |= {n: None for n in columns.all if n not in seen and _may_have(line, n)}
            if line is None or not line.startswith(b"{"):
                look.odd(line, n_bytes, first + rows)
            rows, end = rows + 1, end + n_bytes
            digest.update(line or b"")
            scan.add(line)
        if behind := left_behind(stream):
            log.warning("%s: the %d bytes behind its packed end are passed over, as zcat does", found.path, behind)
    if why := look.problem(first + rows, end):
        raise UnreadableError(refused(found, why))
    kinds = scan.found()
    absent = {name for name in columns.all if name not in seen} if seen else set()
    gone, names, from_folder = missing_of(found, columns, absent, list(seen))
    if not seen:  # a file without a row has no column, and none that is missing
        gone = tuple(columns.all)
    from_folder += tuple(n for n in keys if n not in from_folder and "absent" in kinds.get(n, ()))
    if rows or not cuts:
        cuts.append(Cut(first, rows, begin))
    place = found.path, found.relative, stat.st_size, stat.st_mtime_ns, digest.hexdigest(), tuple(cuts)
    return Source(*place, {}, 0, kinds, gone, names, from_folder, found.format)


def rows(shard: Shard, columns: Columns, keep_types: dict[str, pa.DataType], size: BlockSize) -> Iterator[RawRows]:
    """Yield the range's lines, parsed one by one so that a bad line costs only itself."""
    values: list[list[Any]] = []
    numbers: list[int] = []
    rejects: list[Reject] = []
    n_held = 0
    types = [pa.string()] * (len(columns.text) + bool(columns.id)) + [
        keep_types.get(n, pa.string()) for n in columns.keep
    ]
    folders = {n: folder_value(v, keep_types[n]) for n, v in folder_keys(shard.source).items() if n in keep_types}

    def raw() -> RawRows:
        arrays = [pa.array([row[i] for row in values], t) for i, t in enumerate(types)]
        texts, others = arrays[: len(columns.text)], arrays[len(columns.text) :]
        ids = others.pop(0) if columns.id else None
        return RawRows(texts, ids, others, np.array(numbers, np.int64), rejects)

    with open_stream(Path(shard.path), shard.offset) as stream:
        row = shard.first_row - 1
        for line, n_bytes in islice(lines(stream), shard.n_rows):
            row += 1  # by hand: `enumerate` would hold the line
            try:
                fields = parse(line, first=row == 0)
                fitted = _fitted(line or b"", fields, columns, keep_types, folders)
            except BadLineError as error:
                begin = bytes((line or b"")[:SHOWN_BYTES]).rstrip(b"\r\n")
                rejects.append(Reject(shard.source, row, error.reason, error.detail, None, begin))
                continue
            values.append(fitted)
            numbers.append(row)
            n_held += n_bytes
            if len(values) == size.n_rows or n_held >= size.n_bytes:
                full = raw()
                values, numbers, rejects, n_held = [], [], [], 0
                del line, fields, fitted  # not held beside the block that they are in
                yield full
                del full
    if numbers or rejects:
        yield raw()


def places(parts: Sequence[Wanted]) -> Iterator[Wanted]:
    """Copy the wanted lines of one file aside, in one pass, as a file of their own; shards wanted whole stay."""
    if all(part.is_whole for part in parts):
        yield from parts
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "lines.jsonl")
        with copy.open("wb") as target, open_stream(Path(parts[0].shard.path)) as stream:
            row = 0
            for part in parts:
                if stream.seekable():  # compressed ones are not
                    stream.seek(part.shard.offset)
                    row = part.shard.first_row
                chosen = set((part.shard.first_row + part.rows).tolist())
                last = max(chosen)
                for line, _size in lines(stream):
                    if row in chosen:  # a line too long to be held is left empty, a reject either way
                        target.write((line or b"").rstrip(b"\r\n") + b"\n")
                    row += 1
                    if row > last:
                        break
        numbers = np.concatenate([part.numbers for part in parts])
        shard = replace(parts[0].shard, first_row=0, n_rows=len(numbers), offset=0, path=str(copy), mtime_ns=0)
        yield Wanted(shard, np.arange(len(numbers)), numbers)


def spans(_path: str, _columns: Columns, _begin: int, _stop: int) -> Iterator[tuple[int, tuple[Span, ...]]]:
    """Yield nothing: the tag is a hash of all bytes."""
    return iter(())


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every line that is not blank, parsed.

    Raises:
        BadLineError: a line is no object.
    """
    with open_stream(path) as stream:
        for i, (line, _) in enumerate(lines(stream)):
            if line is None or line.strip():
                yield f"line {i + 1}", parse(line, first=i == 0)


def _fitted(
    line: bytes,
    fields: dict[str, Any],
    columns: Columns,
    keep_types: dict[str, pa.DataType],
    folders: dict[str, pa.Scalar],
) -> list[Any]:
    """Return a line's texts, its id if one is read, and its kept values; where it has none, the key of a folder."""
    fitted = [as_text(value_of(fields, name), name) for name in columns.text]
    if columns.id:
        fitted.append(as_id(value_of(fields, columns.id), columns.id))
    for name in columns.keep:
        value = kept_value(line, fields, name)
        if value is ABSENT and name in folders:
            fitted.append(folders[name].as_py())
        else:
            fitted.append(as_kept(value, name, keep_types.get(name, pa.string())))
    return fitted


def _may_have(line: bytes | None, name: str) -> bool:
    """Tell whether a line holds a column's name (of a dotted one, the last)."""
    return json.dumps(name).encode() in (line or b"") or (
        "." in name and json.dumps(name.rpartition(".")[2]).encode() in (line or b"")
    )
