"""Look at each source file once: is it readable, has it the columns, where can it be cut."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.errors import DataError
from embed_corpus.firstbytes import ENOUGH, other_kind
from embed_corpus.source.formats import wrong_kind
from embed_corpus.source.jsonl import lines, open_stream
from embed_corpus.source.objects import Objects
from embed_corpus.source.packed import left_behind
from embed_corpus.source.tables import is_part

if TYPE_CHECKING:
    from embed_corpus.source.discover import Found

__all__ = ["Columns", "Cut", "Source", "UnreadableError", "inspect", "plain_type", "reason_of"]

log = logging.getLogger("embed_corpus")

SHARD_BYTES = 64 << 20
"""Bytes of text (Parquet) or of lines (JSONL) that one shard holds at most."""
SHARD_ROWS = 50_000
_BOMB_BYTES = 256 << 20
"""A Parquet column chunk that unpacks to more, and to more than `_BOMB_RATIO` times its size, is not unpacked."""
_BOMB_RATIO = 1000
_MOST_ROWS = 1 << 31
"""Rows that a row group may claim to have: of a column of nulls, any number takes a few bytes."""
_SAMPLED_LINES = 100
"""JSONL lines that are parsed to tell which columns exist."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which input columns are read: the text's (joined), the id's (None: made up), the kept ones."""

    text: tuple[str, ...]
    id: str | None = None
    keep: tuple[str, ...] = ()

    @property
    def all(self) -> list[str]:
        """Every column named, once."""
        return list(dict.fromkeys([*self.text, *([self.id] if self.id else []), *self.keep]))


@dataclass(frozen=True, slots=True)
class Cut:
    """A row range: first row, rows, and (JSONL) the byte where it starts."""

    first_row: int
    n_rows: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A source file that can be read: what it is, and the row ranges its shards will have.

    `tag` is a hash of the Parquet footer, or of a JSONL file's decompressed bytes;
    `keep_types` the types of the kept columns where the file tells them (Parquet);
    `ctime_ns` the time of its last change of any kind, 0 if unknown.
    """

    path: str
    relative: str
    size: int
    mtime_ns: int
    tag: str
    cuts: tuple[Cut, ...]
    keep_types: dict[str, pa.DataType] = field(default_factory=dict)
    ctime_ns: int = 0


class UnreadableError(DataError):
    """A file that is not what its name says, or no more: damaged, cut short, or hostile.

    Not one that the system does not let us read: that says nothing about the file.
    """


def inspect(found: Found, columns: Columns) -> Source:
    """Read a file's footer (Parquet) or count its lines (JSONL), and check the columns.

    Raises:
        UnreadableError: nothing in the file can be used.
        DataError: the system does not let it be read, or a column is missing or of an unfit type.
    """
    try:
        if told := wrong_kind(Path(found.path), found.kind):
            raise UnreadableError(_refused(found, f"it is {told}"))
        if found.kind == "parquet":
            return _inspect_parquet(found, columns)
        return _inspect_jsonl(found, columns)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        kind = (
            DataError if isinstance(error, OSError) and error.errno else UnreadableError
        )  # Arrow's own have no number
        raise kind(_refused(found, reason_of(error).rstrip("."))) from error


def _refused(found: Found, why: str) -> str:
    return f"{found.path} cannot be read: {why}. Replace the file, or take it out of INPUT."


def reason_of(error: Exception) -> str:
    """Return the first line of what an error says, as a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ") + "."


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type a column is read as: the plain one behind dictionaries and string views; text if all null."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pa.string()
    return kind


def _inspect_parquet(found: Found, columns: Columns) -> Source:
    stat = Path(found.path).stat()
    # Only with both options a look at no rows (in `_row_groups`) is no reading of all pages.
    with pq.ParquetFile(found.path, buffer_size=1 << 12, pre_buffer=False) as file:
        schema = file.schema_arrow
        if is_part(schema):
            raise DataError(
                f"{found.path} is a part that embed-corpus wrote: it holds vectors, no documents. Take it out of INPUT."
            )
        _check_present(found, columns, schema.names)
        for name in columns.text:
            if plain_type(schema.field(name).type) != pa.string():
                raise DataError(
                    f"{found.path}: text column {name!r} is of type {schema.field(name).type}, not text. "
                    "Name another with --text-column."
                )
        if columns.id and not _fits_id(plain_type(schema.field(columns.id).type)):
            raise DataError(
                f"{found.path}: id column {columns.id!r} is of type {schema.field(columns.id).type}; "
                "ids are text or whole numbers. Name another with --id-column, or none."
            )
        sizes = _row_groups(found, file, columns)
    kept = {name: schema.field(name).type for name in columns.keep}
    keep_types = {name: plain_type(kind) for name, kind in kept.items() if not pa.types.is_null(kind)}
    tag = _footer_hash(Path(found.path))
    return Source(found.path, found.relative, stat.st_size, stat.st_mtime_ns, tag, _cut_row_groups(sizes), keep_types)


def _row_groups(found: Found, file: pq.ParquetFile, columns: Columns) -> list[tuple[int, int]]:
    """Return the rows and the bytes of text of each row group, if the footer can be believed.

    Raises:
        UnreadableError: it contradicts itself, or a column would unpack to far more than it should.
    """
    paths = [file.schema.column(i).path for i in range(len(file.schema))]
    leaves = [i for i, path in enumerate(paths) if any(f"{path}.".startswith(f"{name}.") for name in columns.all)]
    groups = []
    for number in range(file.num_row_groups):
        # Over the damaged description of a column Arrow ends the process (`row_group.column` lets no C++ exception
        # through), but the reader raises: so it is made to look first, at no rows.
        next(file.reader.iter_batches(0, [number], leaves, use_threads=False), None)
        group = file.metadata.row_group(number)
        chunks = [group.column(i) for i in leaves]
        for chunk in chunks:
            flat = chunk.path_in_schema in columns.text or chunk.path_in_schema == columns.id
            sound = chunk.num_values == group.num_rows if flat else chunk.num_values >= group.num_rows
            if not sound or chunk.total_uncompressed_size < 0 or not 0 <= group.num_rows < _MOST_ROWS:
                raise UnreadableError(
                    f"{found.path}, row group {number}, column {chunk.path_in_schema!r}: the footer says "
                    f"{group.num_rows} rows, {chunk.num_values} values, {chunk.total_uncompressed_size} bytes. "
                    "Replace the file, or take it out of INPUT."
                )
            if chunk.total_uncompressed_size > max(_BOMB_BYTES, _BOMB_RATIO * chunk.total_compressed_size):
                raise UnreadableError(
                    f"{found.path}, row group {number}, column {chunk.path_in_schema!r}: {chunk.total_compressed_size} "
                    f"bytes would unpack to {chunk.total_uncompressed_size >> 20} MiB, as a bomb does. Write it with "
                    "smaller row groups, or take it out of INPUT."
                )
        groups.append(
            (group.num_rows, sum(c.total_uncompressed_size for c in chunks if c.path_in_schema in columns.text))
        )
    return groups


def _fits_id(kind: pa.DataType) -> bool:
    return bool(kind == pa.string() or pa.types.is_integer(kind))


def _footer_hash(path: Path) -> str:
    """Hash the footer: the last 8 bytes of the file are its length and the magic number."""
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        return blake2b(file.read(length), digest_size=16).hexdigest()


def _cut_row_groups(groups: list[tuple[int, int]]) -> tuple[Cut, ...]:
    """Join row groups up to the limits of a shard, and split those that exceed them evenly."""
    cuts: list[Cut] = []
    first = rows = size = 0
    for group_rows, group_bytes in groups:
        if rows and (rows + group_rows > SHARD_ROWS or size + group_bytes > SHARD_BYTES):
            cuts.append(Cut(first, rows))
            first, rows, size = first + rows, 0, 0
        pieces = max(-(-group_rows // SHARD_ROWS), -(-group_bytes // SHARD_BYTES), 1)
        if pieces > 1:
            edges = [first + group_rows * i // pieces for i in range(pieces + 1)]
            cuts += [Cut(a, b - a) for a, b in pairwise(edges) if b > a]
            first += group_rows
        else:
            rows, size = rows + group_rows, size + group_bytes
    if rows or not cuts:
        cuts.append(Cut(first, rows))
    return tuple(cuts)


def _inspect_jsonl(found: Found, columns: Columns) -> Source:
    stat = Path(found.path).stat()
    digest = blake2b(digest_size=16)
    cuts: list[Cut] = []
    seen: dict[str, None] = {}
    look = Objects()
    first = rows = begin = end = 0
    with open_stream(Path(found.path)) as stream:
        if told := other_kind(stream.peek(ENOUGH)[:ENOUGH], "json"):
            raise UnreadableError(_refused(found, f"inside it is {told}"))
        for line, n_bytes in lines(stream):
            if rows and (rows == SHARD_ROWS or end + n_bytes - begin > SHARD_BYTES):
                cuts.append(Cut(first, rows, begin))
                first, rows, begin = first + rows, 0, end
            if first + rows < _SAMPLED_LINES or not look.any:
                seen |= dict.fromkeys(look.keys(line, first + rows))
            else:  # further down a rare column is looked for without parsing every line
                seen |= {n: None for n in columns.all if n not in seen and json.dumps(n).encode() in (line or b"")}
            if line is None or not line.startswith(b"{"):
                look.odd(line, n_bytes, first + rows)
            rows, end = rows + 1, end + n_bytes
            digest.update(line or b"")
        if behind := left_behind(stream):
            log.warning("%s: the %d bytes behind its packed end are passed over, as zcat does", found.path, behind)
    if why := look.problem(first + rows, end):
        raise UnreadableError(_refused(found, why))
    if seen:
        _check_present(found, columns, list(seen))
    if rows or not cuts:
        cuts.append(Cut(first, rows, begin))
    return Source(found.path, found.relative, stat.st_size, stat.st_mtime_ns, digest.hexdigest(), tuple(cuts))


def _check_present(found: Found, columns: Columns, names: list[str]) -> None:
    flags = {columns.id: "--id-column"} | dict.fromkeys(columns.keep, "--keep")
    flags |= dict.fromkeys(columns.text, "--text-column")
    for name in columns.all:
        if names.count(name) > 1:
            raise DataError(f"{found.path} has {names.count(name)} columns {name!r}: rename one.")
        if name not in names:
            there = ", ".join(names) or "none"
            raise DataError(f"{found.path} has no column {name!r}. It has: {there}. Name one with {flags[name]}.")
