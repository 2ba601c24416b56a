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
from embed_corpus.source.checks import check_fields, kept_type, missing_of
from embed_corpus.source.fields import field_of, n_leaves
from embed_corpus.source.formats import wrong_kind
from embed_corpus.source.int96 import check_int96
from embed_corpus.source.jsonl import lines, open_stream
from embed_corpus.source.kinds import KindScan
from embed_corpus.source.objects import Objects
from embed_corpus.source.packed import left_behind
from embed_corpus.source.partitions import folder_keys
from embed_corpus.source.tables import is_part
from embed_corpus.source.types import plain_type
from embed_corpus.store.paths import arrow_file

if TYPE_CHECKING:
    from embed_corpus.source.discover import Found
    from embed_corpus.source.fields import Field

__all__ = ["Columns", "Cut", "Source", "UnreadableError", "inspect", "reason_of"]

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
    """Which input columns are read: the text's (joined), the id's (None: made up), the kept ones.

    `types` are chosen for kept columns (`--keep-type`); `strict`: no file may lack one or have it in another type;
    `partition_types`: keys of folders become numbers and dates where all of them are such.
    """

    text: tuple[str, ...]
    id: str | None = None
    keep: tuple[str, ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    strict: bool = False
    partition_types: bool = False

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
    `ctime_ns` the time of its last change of any kind, 0 if unknown; `kinds` the kinds of a kept column's values
    (JSONL, see `kinds.NAMES`); `lacks` are text and kept columns that it has not, and `names` those that it has, if it
    lacks any; `from_folder` are kept columns that (in some rows) are the key of a folder.
    """

    path: str
    relative: str
    size: int
    mtime_ns: int
    tag: str
    cuts: tuple[Cut, ...]
    keep_types: dict[str, pa.DataType] = field(default_factory=dict)
    ctime_ns: int = 0
    kinds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    from_folder: tuple[str, ...] = ()


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


def _inspect_parquet(found: Found, columns: Columns) -> Source:
    stat = Path(found.path).stat()
    # Only with both options a look at no rows (in `_row_groups`) is no reading of all pages.
    with (
        arrow_file(found.path) as source,
        pq.ParquetFile(source, buffer_size=1 << 12, pre_buffer=False) as file,
    ):
        schema = file.schema_arrow
        if is_part(schema):
            raise DataError(
                f"{found.path} is a part that embed-corpus wrote: it holds vectors, no documents. Take it out of INPUT."
            )
        spots = {name: field_of(schema, name) for name in columns.all}
        there = {name: spot for name, spot in spots.items() if spot is not None}
        missing = missing_of(found, columns, set(columns.all) - there.keys(), schema.names)
        check_fields(found.path, columns, there)
        if sum(map(n_leaves, schema.types)) != len(file.schema):
            raise UnreadableError(f"{found.path}: the footer tells two numbers of columns. Replace the file.")
        sizes = _row_groups(found, file, columns, there)
        kept = {name: there[name] for name in columns.keep if name in there}
        coarse = check_int96(found.path, file, kept) == "us"
        kinds = {name: kept_type(file, spot, coarse=coarse) for name, spot in kept.items()}
    keep_types = {name: plain_type(kind) for name, kind in kinds.items() if not pa.types.is_null(kind)}
    tag = _footer_hash(Path(found.path))
    cuts = _cut_row_groups(sizes)
    return Source(found.path, found.relative, stat.st_size, stat.st_mtime_ns, tag, cuts, keep_types, 0, {}, *missing)


def _row_groups(found: Found, file: pq.ParquetFile, columns: Columns, there: dict[str, Field]) -> list[tuple[int, int]]:
    """Return the rows and the bytes of text of each row group, if the footer can be believed.

    Raises:
        UnreadableError: it contradicts itself, or a column would unpack to far more than it should.
    """
    leaves = sorted({leaf for spot in there.values() for leaf in spot.leaves})
    of_text = {leaf for name in columns.text if name in there for leaf in there[name].leaves}
    flat = {leaf for leaf in leaves if file.schema.column(leaf).max_repetition_level == 0}
    groups = []
    for number in range(file.num_row_groups):
        # Over the damaged description of a column Arrow ends the process (`row_group.column` lets no C++ exception
        # through), but the reader raises: so it is made to look first, at no rows.
        next(file.reader.iter_batches(0, [number], leaves, use_threads=False), None)
        group = file.metadata.row_group(number)
        chunks = {i: group.column(i) for i in leaves}
        for i, chunk in chunks.items():
            sound = chunk.num_values == group.num_rows if i in flat else chunk.num_values >= group.num_rows
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
        groups.append((group.num_rows, sum(chunks[i].total_uncompressed_size for i in of_text)))
    return groups


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
    keys = folder_keys(found.relative) if columns.keep else {}
    chosen = {name for name, kind in columns.types if kind == "text"}  # any value is
    scanned = tuple(name for name in columns.keep if name not in chosen or name in keys)
    scan = KindScan(scanned, each_line=not keys.keys().isdisjoint(scanned))
    with open_stream(Path(found.path)) as stream:
        if told := other_kind(stream.peek(ENOUGH)[:ENOUGH], "json"):
            raise UnreadableError(_refused(found, f"inside it is {told}"))
        for line, n_bytes in lines(stream):
            if rows and (rows == SHARD_ROWS or end + n_bytes - begin > SHARD_BYTES):
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
        raise UnreadableError(_refused(found, why))
    kinds = scan.found()
    absent = {name for name in columns.all if name not in seen} if seen else set()
    gone, names, from_folder = missing_of(found, columns, absent, list(seen))
    if not seen:  # a file without a row has no column, and none that is missing
        gone = tuple(columns.all)
    from_folder += tuple(n for n in keys if n not in from_folder and "absent" in kinds.get(n, ()))
    if rows or not cuts:
        cuts.append(Cut(first, rows, begin))
    place = found.path, found.relative, stat.st_size, stat.st_mtime_ns, digest.hexdigest(), tuple(cuts)
    return Source(*place, {}, 0, kinds, gone, names, from_folder)


def _may_have(line: bytes | None, name: str) -> bool:
    """Tell whether a line holds a column's name (of a dotted one, the last)."""
    return json.dumps(name).encode() in (line or b"") or (
        "." in name and json.dumps(name.rpartition(".")[2]).encode() in (line or b"")
    )
