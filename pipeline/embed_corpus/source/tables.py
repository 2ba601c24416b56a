"""What must not be read file by file: tables whose own log says which rows live, and results of embed-corpus."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from embed_corpus.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import pyarrow as pa

__all__ = ["Grounds", "ResultError", "is_part"]

_ICEBERG = re.compile(r"(v\d+|\d{5}-[0-9a-f-]{36})(\.gz)?\.metadata\.json(\.gz)?|version-hint\.text")
_HIVE_ACID = re.compile(r"(base_\d{7}|(delete_)?delta_\d{7}_\d{7}(_\d{4})?)(_v\d+)?")


def _holds(folder: str, name: str, pattern: str) -> bool:
    """Whether a folder below holds a file whose name fits a pattern."""
    try:
        return any(re.fullmatch(pattern, found) for found in os.listdir(f"{folder}/{name}"))  # noqa: PTH208
    except OSError:
        return False


def _is_dir(folder: str, *names: str) -> bool:
    return all(os.path.isdir(f"{folder}/{name}") for name in names)  # noqa: PTH112  # a Path for each takes its time


_TABLES: tuple[tuple[str, str, Callable[[str], bool], str], ...] = (
    (
        "_delta_log",
        "a Delta table (`_delta_log`)",
        lambda folder: _is_dir(folder, "_delta_log"),
        "`pq.write_table(deltalake.DeltaTable('{}').to_pyarrow_table(), 'rows.parquet')`",
    ),
    (
        "metadata",
        "an Iceberg table (`metadata/*.metadata.json`)",
        lambda folder: _holds(folder, "metadata", _ICEBERG.pattern) or _looks_like_iceberg(folder),
        "`pq.write_table(table.scan().to_arrow(), 'rows.parquet')` with pyiceberg",
    ),
    (
        ".hoodie",
        "a Hudi table (`.hoodie`)",
        lambda folder: _is_dir(folder, ".hoodie"),
        "`spark.read.format('hudi').load('{}').write.parquet('rows')`",
    ),
    (
        "_versions",
        "a Lance dataset (`_versions`)",
        lambda folder: _holds(folder, "_versions", r".*\.manifest"),
        "`pq.write_table(lance.dataset('{}').to_table(), 'rows.parquet')`",
    ),
    (
        "_spark_metadata",
        "the sink of a Spark stream (`_spark_metadata`)",
        lambda folder: _is_dir(folder, "_spark_metadata"),
        "`spark.read.parquet('{}').write.parquet('rows')`",
    ),
    (
        "snapshot",
        "a Paimon table (`snapshot`, `schema`, `manifest`)",
        lambda folder: _is_dir(folder, "schema", "manifest") and _holds(folder, "snapshot", r"snapshot-\d+|LATEST"),
        "`spark.read.format('paimon').load('{}').write.parquet('rows')`",
    ),
)
"""The entry of a folder that tells a table; what it is; whether it really is; how its rows are written out."""

_RESULT = "_embed"
_MARKS = frozenset(mark for mark, *_ in _TABLES) | {_RESULT}


class ResultError(DataError):
    """A result of embed-corpus in place of documents: perhaps INPUT and OUT are swapped."""


class Grounds:
    """Which folders may be read, for one list of INPUT and one OUT; each is looked at once."""

    def __init__(self, output: Path) -> None:
        self._output = str(output)
        self._sound: set[str] = set()
        self._sound_up: set[str] = set()

    def check(self, folder: str, names: Collection[str] | None = None) -> None:
        """Refuse a folder that is a table or another result; `names`: the folders in it, where they are known.

        Raises:
            DataError: naming it, and what to do.
        """
        if folder in self._sound:
            return
        if names is None or not _MARKS.isdisjoint(names) or _HIVE_ACID.fullmatch(folder.rpartition("/")[2]):
            _refuse(folder)
        self._sound.add(folder)

    def check_up(self, folder: str) -> None:
        """Refuse a folder that is, or lies in, a table, a result or OUT; its links must be resolved.

        Raises:
            DataError: as `check` does.
        """
        while folder not in self._sound_up:
            if folder == self._output:
                raise DataError(f"INPUT is, or lies inside, OUT ({folder}): name another folder as OUT.")
            self.check(folder)
            self._sound_up.add(folder)
            folder = os.path.dirname(folder)  # noqa: PTH120


def _refuse(folder: str) -> None:
    folder = os.path.normpath(folder)
    if os.path.isfile(f"{folder}/{_RESULT}/job.json"):  # noqa: PTH113
        raise ResultError(
            f"{folder} is a result of embed-corpus: its parts are vectors, no documents. Take it out of INPUT, and "
            "name the folder that it was made from."
        )
    for _, what, is_one, how in _TABLES:
        if is_one(folder):
            raise DataError(
                f"{folder} is {what}: read file by file, rows that were deleted or replaced would be embedded too. "
                f"Write its rows out and name these instead, e.g. {how.format(folder)}."
            )
    if _HIVE_ACID.fullmatch(folder.rpartition("/")[2]):
        raise DataError(
            f"{folder} belongs to a transactional Hive table: read file by file, rows that were deleted or replaced "
            "would be embedded too. Write its rows out as Parquet with Hive or Spark and name these instead."
        )


def is_part(schema: pa.Schema) -> bool:
    """Whether a Parquet file is what embed-corpus writes: of a part that others changed, its marks may be left."""
    return b"embed_corpus.job" in (schema.metadata or {}) and {"doc_id", "embedding"} <= set(schema.names)


def _looks_like_iceberg(folder: str) -> bool:
    """Whether a metadata file of another name than the usual says that it is one of Iceberg's."""
    try:
        names = [name for name in os.listdir(f"{folder}/metadata") if name.endswith(".metadata.json")]  # noqa: PTH208
        return any(b'"format-version"' in Path(folder, "metadata", name).read_bytes() for name in names[:3])
    except OSError:
        return False
