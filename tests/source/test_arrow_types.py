"""Every type that Arrow can write to Parquet, kept: it comes out of a part as it went in, or is refused by name."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from embed_corpus.data import Block, Chunks, Rows
from embed_corpus.errors import DataError
from embed_corpus.sink.parts import PartFormat, open_writer
from embed_corpus.source.columns import Columns
from embed_corpus.source.kept import kept_types
from embed_corpus.source.types import plain_type
from kit.arrow_columns import TYPES, WRITTEN, values
from kit.source_files import blocks_of, sources_of

KEPT = Columns(("text",), None, ("k",))
FACTS: dict[str, Any] = {"space": {}, "job": {}}


def part_of(folder: Path, columns: Columns = KEPT) -> pa.ChunkedArray:
    """The kept column of a folder's parts, written as a run writes them, of one chunk a document."""
    form = PartFormat(2, "float32", kept_types(sources_of(folder, columns), columns), False, FACTS, False)
    sink = pa.BufferOutputStream()
    writer = open_writer(sink, form.schema)
    for rows in blocks_of(folder, columns):
        writer.write_table(form.table(Block(None, rows, chunks_of(rows)), np.zeros((len(rows.rows), 2), np.float32)))
    writer.close()
    return pq.read_table(pa.BufferReader(sink.getvalue()))["k"]


def chunks_of(rows: Rows) -> Chunks:
    """One chunk of nothing for each document."""
    n = len(rows.rows)
    doc, zero = np.arange(n, dtype=np.int32), np.zeros(n, np.int64)
    hashes, ids = np.zeros((n, 16), np.uint8), np.zeros(0, np.int32)
    return Chunks(doc, doc * 0, zero, zero, doc * 0, hashes, ids, truncated=0, cut_words=0)


def kept(folder: Path, array: pa.Array, **options: Any) -> pa.ChunkedArray:
    """What a part holds of an array that was written to a Parquet file."""
    pq.write_table(pa.table({"text": ["x"] * len(array), "k": array}), folder / "a.parquet", **options)
    return part_of(folder)


@pytest.mark.heavy
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), kind=TYPES, options=WRITTEN)
def test_every_type_comes_out_equal_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, kind: pa.DataType, options: dict[str, Any]
) -> None:
    """Of any type, nested in whatever, by any writer: the same values of the same type, or an error with the name."""
    folder = tmp_path_factory.mktemp("types")
    drawn = data.draw(st.lists(values(kind), min_size=1, max_size=5))
    try:
        array = pa.array(drawn, kind)
        pq.write_table(pa.table({"k": array}), folder / "try", **options)
        expected = pq.read_table(folder / "try")["k"]
    except (pa.ArrowException, IndexError):
        assume(False)  # what Arrow itself cannot write, or read back
    try:
        found = kept(folder, array, **options)
    except DataError as error:
        assert "'k'" in str(error) or "k" in str(error).split()  # noqa: PT017
        return
    assert found.type == plain_type(expected.type)
    plain = expected if expected.type == found.type else expected.cast(found.type)
    assert found.combine_chunks().equals(plain.combine_chunks())


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.int64(), pa.timestamp("ms")])
def test_dictionaries_are_kept_as_what_they_hold(tmp_path: Path, kind: pa.DataType) -> None:
    """Of a dictionary the values are kept, not the numbers that stand for them."""
    array = pa.array(["1", None, "2", "1"], pa.string())
    plain = array.cast(pa.int64()).cast(kind) if pa.types.is_primitive(kind) else array.cast(kind)
    found = kept(tmp_path, plain.dictionary_encode())
    assert found.to_pylist() == plain.to_pylist()


@pytest.mark.parametrize("width", [pa.float16(), pa.float32(), pa.float64()])
def test_numbers_that_are_none(tmp_path: Path, width: pa.DataType) -> None:
    """What is no number, and what is infinite or a negative zero, is kept as it is."""
    numbers = np.array([np.nan, np.inf, -np.inf, -0.0], width.to_pandas_dtype())
    found = kept(tmp_path, pa.array(numbers)).to_numpy()
    assert found.tobytes() == numbers.tobytes()


# ── points in time as Spark wrote them ────────────────────────────────────────────────────

YEARS = st.one_of(st.datetimes(), st.datetimes(dt.datetime(1678, 1, 1), dt.datetime(2262, 1, 1)))  # noqa: DTZ001


@settings(max_examples=60, deadline=None)
@given(points=st.lists(st.one_of(st.none(), YEARS), min_size=1, max_size=5))
def test_int96_never_wraps(tmp_path_factory: pytest.TempPathFactory, points: list[dt.datetime | None]) -> None:
    """INT96 of any year is kept to the microsecond; of the years that nanoseconds can say, as nanoseconds."""
    array = pa.array(points, pa.timestamp("us"))
    found = kept(tmp_path_factory.mktemp("int96"), array, use_deprecated_int96_timestamps=True)
    assert found.cast(pa.timestamp("us")).combine_chunks().equals(array)
    near = all(p is None or dt.datetime(1678, 1, 1) <= p <= dt.datetime(2262, 1, 1) for p in points)  # noqa: DTZ001
    assert found.type == pa.timestamp("ns") or not near


def test_int96_that_no_unit_can_say_is_refused(tmp_path: Path) -> None:
    """One column with the year 1 and a fraction of a microsecond, or one nested in a list: refused by file and name."""
    far = pa.array([-62_135_596_800_000_000], pa.timestamp("us"))
    with pytest.raises(DataError, match=r"a\.parquet: column 'k' holds INT96 .* before 1677 .* Write the column as"):
        kept(tmp_path, pa.ListArray.from_arrays([0, 1], far), use_deprecated_int96_timestamps=True)
    table = pa.table({"text": ["x"], "k": far, "n": pa.array([1], pa.timestamp("ns"))})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    with pytest.raises(DataError, match="column 'k' holds INT96"):
        part_of(tmp_path, Columns(("text",), None, ("k", "n")))


def test_int96_beside_others_of_microseconds(tmp_path: Path) -> None:
    """Nanoseconds of an INT96 column are kept though another kept column has microseconds."""
    table = pa.table({"text": ["x"], "k": pa.array([1234567], pa.timestamp("ns"))})
    pq.write_table(table, tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    pq.write_table(table.append_column("u", pa.array([7], pa.timestamp("us"))), tmp_path / "b.parquet")
    found = part_of(tmp_path, Columns(("text",), None, ("k", "u")))
    assert found.cast(pa.int64()).to_pylist() == [1234567, 1234567]
