"""Points in time as Spark and Impala long wrote them, INT96: wider than nanoseconds in 64 bits, which wrap silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embed_corpus.errors import DataError
from embed_corpus.store.paths import arrow_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embed_corpus.source.fields import Field

__all__ = ["check_int96", "unit_for"]

_NS, _US = "ns", "us"


def check_int96(path: str, file: pq.ParquetFile, kept: dict[str, Field]) -> str:
    """Return the unit, "ns" or "us", in which all kept INT96 values of a file are exact; reads these columns.

    Raises:
        DataError: there is none, naming the column.
    """
    needs: dict[str, set[str]] = {}
    for name, field in kept.items():
        if numbers := [i for i in field.leaves if file.schema.column(i).physical_type == "INT96"]:
            needs[name] = set(_units(path, file, numbers))
            if len(needs[name]) > 1 or (_US in needs[name] and not pa.types.is_timestamp(field.kind)):
                raise DataError(_unfit(path, name))
    if len(set().union(*needs.values())) > 1:
        raise DataError(_unfit(path, next(name for name, units in needs.items() if _US in units)))
    return _US if any(_US in units for units in needs.values()) else _NS


def _unfit(path: str, name: str) -> str:
    return (
        f"{path}: column {name!r} holds INT96 points in time before 1677 or after 2262, which Arrow would wrap. "
        "Write the column as microseconds, or do not --keep it."
    )


def _units(path: str, file: pq.ParquetFile, leaves: list[int]) -> Iterator[str]:
    """Yield the unit that values need: "us" of those beyond nanoseconds, "ns" of those with a fraction of one."""
    with arrow_file(path) as first, arrow_file(path) as second:
        opened = ((first, _NS), (second, _US))
        readers = [pq.ParquetFile(f, metadata=file.metadata, coerce_int96_timestamp_unit=unit) for f, unit in opened]
        for group in range(file.num_row_groups):
            batches = (reader.reader.iter_batches(1 << 16, [group], leaves, use_threads=False) for reader in readers)
            for fine, coarse in zip(*batches, strict=True):
                for exact, told in zip(map(_numbers, fine.columns), map(_numbers, coarse.columns), strict=True):
                    fraction = exact.astype(np.uint64) - told.astype(np.uint64) * np.uint64(1000)  # over 2**64 and back
                    if (exact // 1000 != told).any():
                        yield _US
                    if (fraction % np.uint64(1000) != 0).any():
                        yield _NS


def _numbers(array: pa.Array) -> NDArray[np.int64]:
    """Return the points in time of a column, whatever they are nested in."""
    while pa.types.is_nested(array.type):
        array = pa.concat_arrays(array.flatten()) if pa.types.is_struct(array.type) else array.flatten()
    numbers: NDArray[np.int64] = array.drop_null().cast(pa.int64()).to_numpy()
    return numbers


def unit_for(file: pq.ParquetFile, spots: dict[str, Field], keep_types: dict[str, pa.DataType]) -> str:
    """Return the unit in which a file's INT96 columns are to be read so that they are of the kept types."""
    for name, field in spots.items():
        kind = keep_types.get(name)
        coarse = kind is not None and pa.types.is_timestamp(kind) and kind.unit != _NS
        if coarse and file.schema.column(field.leaves.start).physical_type == "INT96":
            return _US
    return _NS
