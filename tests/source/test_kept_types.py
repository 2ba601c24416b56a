"""The types of kept columns: of JSON values, of several files, by choice."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_corpus.errors import DataError, UsageError
from embed_corpus.job.config import JobConfig
from embed_corpus.source import kinds
from embed_corpus.source.columns import Columns
from embed_corpus.source.kept import kept_types
from embed_corpus.source.kinds import KindScan, kept_value, kind_of_value
from embed_corpus.source.types import common_type
from kit.source_files import blocks_of, documents, rejects, sources_of, write_jsonl, write_parquet

KEPT = Columns(("text",), None, ("k",))


def chosen(kind: str) -> Columns:
    """The same with a type chosen."""
    return Columns(("text",), None, ("k",), (("k", kind),))


def rows_of(*values: Any) -> list[Any]:
    """A line for each value of column `k`; bytes are the value as it stands in the line."""
    return [b'{"text": "x", "k": %s}' % v if isinstance(v, bytes) else {"text": "x", "k": v} for v in values]


def type_of(folder: Path, columns: Columns = KEPT) -> pa.DataType:
    """The type of column `k`."""
    return kept_types(sources_of(folder, columns), columns)["k"]


def kept_in(folder: Path, columns: Columns = KEPT) -> list[Any]:
    """What is kept of the rows, none of which may be rejected."""
    blocks = blocks_of(folder, columns)
    assert not rejects(blocks)
    return [value for _, value in documents(blocks, "k")]


# ── JSON ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, -(2**63), 2**63 - 1], pa.int64()),
        ([1, 2.5, 2**53 - 1, None], pa.float64()),
        ([1, 1.0], pa.float64()),
        ([b"NaN", 1.5, b"-Infinity"], pa.float64()),
        ([True, None, False], pa.bool_()),
        (["5", None, "2024-01-01T00:00:00Z"], pa.string()),
        ([["a"], {"b": 1}, "c"], pa.string()),
        ([None, None], pa.string()),
    ],
)
def test_json_values_keep_their_type(tmp_path: Path, values: list[Any], kind: pa.DataType) -> None:
    """Numbers stay numbers, truth values truth values, text text; objects and lists are text, as their JSON."""
    write_jsonl(tmp_path / "a.jsonl", *rows_of(*values))
    assert type_of(tmp_path) == kind
    plain = [json.dumps(v) if isinstance(v, (list, dict)) else v for v in values]
    numbers = [v if v is None else float(v) for v in values] if kind == pa.float64() else plain
    assert repr(kept_in(tmp_path)) == repr(numbers)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1, 2, "3"], r"a whole number in .*a\.jsonl, row 0 but text in .*a\.jsonl, row 2"),
        ([None, 1.5, True], r"a number in .*, row 1 but true or false in .*, row 2"),
        ([[1], 5], r"an object or a list in .*, row 0 but a whole number in .*, row 1"),
        ([2**53 + 1, 0.5], r"a whole number beyond 2\*\*53 in .*, row 0 but a number in .*, row 1"),
        ([1, 2**63], r"a whole number in .*, row 0 but a whole number beyond 64 bits in .*, row 1"),
        ([-(2**64)], r"is a whole number beyond 64 bits in .*, row 0: one"),
        ([1.5, b"1e400"], r"a number in .*, row 0 but a number beyond what a double holds in .*, row 1"),
    ],
)
def test_what_one_type_cannot_hold_is_refused(tmp_path: Path, values: list[Any], says: str) -> None:
    """Values of which no one type holds all unchanged: refused before a row is read, with two places and the remedy."""
    write_jsonl(tmp_path / "a.jsonl", *rows_of(*values))
    with pytest.raises(DataError, match=rf"^kept column 'k' is {says.removeprefix('is ')}") as error:
        type_of(tmp_path)
    assert "keep it as text with --keep-type k=text" in str(error.value)
    texts = [
        v.decode() if isinstance(v, bytes) else v if v is None or isinstance(v, str) else json.dumps(v) for v in values
    ]
    assert kept_in(tmp_path, chosen("text")) == texts


def test_kinds_of_two_files(tmp_path: Path) -> None:
    """The type is one over all files: whole numbers and floats are floats; text beside them is refused by place."""
    write_jsonl(tmp_path / "a.jsonl", *rows_of(1, 2))
    write_jsonl(tmp_path / "b.jsonl.gz", *rows_of(None, 0.5))
    assert kept_in(tmp_path) == [1.0, 2.0, None, 0.5]
    write_jsonl(tmp_path / "c.jsonl", *rows_of(None, "many"))
    with pytest.raises(DataError, match=r"a\.jsonl, row 0 but text in .*c\.jsonl, row 1"):
        type_of(tmp_path)


@pytest.mark.heavy
def test_a_late_value_counts(tmp_path: Path) -> None:
    """A value of another kind is found in the last of many lines, by Arrow's way of looking as by ours."""
    write_jsonl(tmp_path / "a.jsonl", *rows_of(*range(50_000), "late"))
    with pytest.raises(DataError, match=r"but text in .*, row 50000"):
        type_of(tmp_path)
    write_jsonl(tmp_path / "a.jsonl", *rows_of(*range(50_000), b"7.5"))
    assert kept_in(tmp_path)[-2:] == [49_999.0, 7.5]


NUMBERS = st.one_of(
    st.integers(-(2**65), 2**65),
    st.sampled_from([2**53, 2**53 + 1, -(2**53), 2**63 - 1, 2**63, 0, -0.0, 1e300, math.inf, 5.0]),
    st.floats(allow_nan=False),
)
SCALARS = [st.integers(-5, 5), NUMBERS, st.booleans(), st.text(max_size=3), st.floats(-5, 5), st.lists(st.integers())]


@settings(max_examples=200, deadline=None)
@given(
    values=st.one_of([st.lists(st.one_of(st.none(), one, two), max_size=12) for one in SCALARS for two in SCALARS]),
    block=st.integers(1, 200),
    cut=st.integers(0, 12),
)
def test_values_come_out_as_they_went_in_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], block: int, cut: int
) -> None:
    """Whatever the values, the files and the blocks: kept unchanged, or refused because they are of several kinds."""
    folder = tmp_path_factory.mktemp("values")
    write_jsonl(folder / "a.jsonl", *rows_of(None, *values[:cut]))
    write_jsonl(folder / "b.jsonl", b'{"text": "x"}', b"{bad", *rows_of(*values[cut:]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "_BLOCK", block)
        patch.setattr(kinds, "_FIRST", 1)
        try:
            found = [value for _, value in documents(blocks_of(folder, KEPT), "k")]
        except DataError:
            found_kinds = {kind_of_value(value) for value in values} - {None}
            assert len(found_kinds) > 1 or found_kinds == {"huge"}
            return
    shown = [json.dumps(v, ensure_ascii=False) if isinstance(v, list) else v for v in values]
    assert found == [None, *shown[:cut], None, *shown[cut:]]
    assert len({type(value) for value in found} - {type(None)}) <= 1


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(
        st.one_of(
            st.dictionaries(st.sampled_from(["k", "other"]), st.one_of(st.none(), *SCALARS)).map(json.dumps),
            st.sampled_from(
                ['{"k": 1, "k": "a"}', '{"\\u006b": "a"}', "[1]", "", '{"x": {"k": "a"}}', '{"k": 01}', "é"]
            ),
        ),
        max_size=30,
    ),
    block=st.integers(1, 300),
)
def test_arrow_sees_what_python_sees(lines: list[str], block: int) -> None:
    """Of lines looked at by Arrow no kind is missed, and the type they get is that of looking at each alone."""

    def kinds_of(each_line: bool) -> Iterable[str]:
        scan = KindScan(("k",), each_line=each_line)
        for line in lines:
            scan.add(line.encode() + b"\n")
        return set(scan.found()["k"]) - {"absent"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kinds, "_BLOCK", block)
        patch.setattr(kinds, "_FIRST", 2)
        fast, sure = kinds_of(each_line=False), kinds_of(each_line=True)
    double = {"float", "whole"} <= {*fast, *sure} or {"int"} <= {*fast, *sure}
    assert fast == sure or (double and kinds.type_of_kinds(fast) == kinds.type_of_kinds(sure))


def test_a_number_beyond_a_double_is_told_by_its_literal() -> None:
    """1e400 and Infinity are one float for Python: the line tells them apart."""
    line = b'\xef\xbb\xbf{"a": 1e400, "b": Infinity, "c": {"d": -1e999}}'
    fields = {"a": math.inf, "b": math.inf, "c": {"d": -math.inf}}
    assert [kind_of_value(kept_value(line, fields, n)) for n in ("a", "b", "c.d")] == ["beyond", "float", "beyond"]
    assert kept_value(line, fields, "c.d") == "-1e999"


# ── by choice ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "values", "kept"),
    [
        ("int64", [1, 2.0, None, -0.0], [1, 2, None, 0]),
        ("double", [1, 2], [1.0, 2.0]),
        ("text", [1, "a", None], ["1", "a", None]),
        ("bool", [True, None], [True, None]),
    ],
)
def test_a_chosen_type(tmp_path: Path, kind: str, values: list[Any], kept: list[Any]) -> None:
    """Values that fit the chosen type have it."""
    write_jsonl(tmp_path / "a.jsonl", *rows_of(*values))
    found = kept_in(tmp_path, chosen(kind))
    assert (found, [type(v) for v in found]) == (kept, [type(v) for v in kept])


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("int64", 1.5, "a number"),
        ("int64", 2**63, "a whole number beyond 64 bits"),
        ("int64", "5", "text"),
        ("double", 2**53 + 1, r"a whole number beyond 2\*\*53"),
        ("double", b"-1e400", "a number beyond what a double holds"),
        ("bool", 1, "a whole number"),
    ],
)
def test_a_value_that_does_not_fit_the_choice(tmp_path: Path, kind: str, value: Any, says: str) -> None:
    """A value that does not fit is an error before anything is read, naming file and row."""
    write_jsonl(tmp_path / "a.jsonl", *rows_of(None, value))
    with pytest.raises(DataError, match=rf"^--keep-type k={kind}: not {says} in .*a\.jsonl, row 1\. Give"):
        type_of(tmp_path, chosen(kind))


def test_a_choice_for_parquet(tmp_path: Path) -> None:
    """A Parquet column takes a chosen type that holds all its values, else it is refused by name."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x", "x"], "k": pa.array([7, None], pa.int32())})
    assert kept_in(tmp_path, chosen("text")) == ["7", None]
    assert kept_in(tmp_path, chosen("double")) == [7.0, None]
    with pytest.raises(DataError, match=r"--keep-type k=bool: the column is int32 in .*a\.parquet"):
        type_of(tmp_path, chosen("bool"))
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "k": [["a"]]})
    with pytest.raises(DataError, match="--keep-type k=text: the column is list"):
        type_of(tmp_path, chosen("text"))


@pytest.mark.parametrize("text", ["k", "k=", "=text", "k=int", "z=text"])
def test_a_choice_that_is_none(text: str, tmp_path: Path) -> None:
    """A choice without a column, a known type, or of a column that is not kept, is told with the remedy."""
    with pytest.raises(UsageError, match=r"--keep-type .*(give COLUMN=TYPE|Add --keep z)"):
        JobConfig(("in",), tmp_path, keep=("k",), keep_type=(text,))
    with pytest.raises(UsageError, match="a column twice"):
        JobConfig(("in",), tmp_path, keep=("k",), keep_type=("k=text", "k=bool"))


# ── Parquet beside Parquet and JSONL ──────────────────────────────────────────────────────

WIDER = [
    (pa.int32(), pa.int64(), pa.int64()),
    (pa.uint8(), pa.int8(), pa.int16()),
    (pa.uint32(), pa.int16(), pa.int64()),
    (pa.float32(), pa.float64(), pa.float64()),
    (pa.int32(), pa.float32(), pa.float64()),
    (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")),
    (pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    (pa.time32("ms"), pa.time64("ns"), pa.time64("ns")),
    (pa.string(), pa.large_string(), pa.string()),
    (pa.dictionary(pa.int8(), pa.string()), pa.string_view(), pa.string()),
    (pa.decimal128(5, 2), pa.decimal128(10, 4), pa.decimal128(10, 4)),
    (pa.decimal128(38, 0), pa.decimal128(5, 4), pa.decimal256(42, 4)),
    (pa.null(), pa.date32(), pa.date32()),
    (pa.binary(), pa.large_binary(), pa.large_binary()),
    (pa.list_(pa.int32()), pa.list_(pa.int64()), pa.list_(pa.int64())),
    (pa.list_(pa.string()), pa.large_list(pa.string()), pa.large_list(pa.string())),
    (pa.struct({"a": pa.int8()}), pa.struct({"a": pa.int16()}), pa.struct({"a": pa.int16()})),
]
APART = [
    (pa.int64(), pa.string()),
    (pa.int64(), pa.float64()),
    (pa.uint64(), pa.int64()),
    (pa.timestamp("us"), pa.timestamp("ns")),
    (pa.timestamp("us"), pa.timestamp("us", "UTC")),
    (pa.timestamp("us", "UTC"), pa.timestamp("us", "Asia/Tokyo")),
    (pa.date32(), pa.timestamp("us")),
    (pa.bool_(), pa.int8()),
    (pa.binary(), pa.string()),
    (pa.struct({"a": pa.int8()}), pa.struct({"b": pa.int8()})),
    (pa.decimal256(76, 0), pa.decimal128(5, 5)),
]


@pytest.mark.parametrize(("one", "two", "both"), WIDER, ids=str)
def test_types_are_widened(tmp_path: Path, one: pa.DataType, two: pa.DataType, both: pa.DataType) -> None:
    """Two files of types that a third holds: each value is there in that type, whichever file comes first."""
    for first, second, folder in ((one, two, tmp_path / "1"), (two, one, tmp_path / "2")):
        arrays = [pa.nulls(2, kind) if pa.types.is_null(kind) else example(kind) for kind in (first, second)]
        for name, array in zip("ab", arrays, strict=True):
            write_parquet(folder / f"{name}.parquet", {"text": ["x", "x"], "k": array})
        assert type_of(folder) == both
        assert kept_in(folder) == [value for array in arrays for value in array.cast(both).to_pylist()]


def example(kind: pa.DataType) -> pa.Array:
    """A value of a type and a null."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.array([[1, None] if pa.types.is_integer(kind.value_type) else ["1", None], None], kind)
    if pa.types.is_struct(kind):
        return pa.array([{"a": 1}, None], kind)
    if pa.types.is_temporal(kind):
        return pa.array([1, None], pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    if pa.types.is_dictionary(kind) or "string" in str(kind) or "binary" in str(kind):
        return pa.array(["1", None]).cast(kind)
    return pa.array([Decimal(1) if pa.types.is_decimal(kind) else 1, None], kind)


@pytest.mark.parametrize(("one", "two"), APART, ids=str)
def test_types_that_none_holds_are_refused(tmp_path: Path, one: pa.DataType, two: pa.DataType) -> None:
    """What could only be widened with a loss is refused by name and by both files."""
    for name, kind in (("a", one), ("b", two)):
        write_parquet(tmp_path / f"{name}.parquet", {"text": ["x"], "k": pa.nulls(1, kind)})
    with pytest.raises(DataError, match=r"'k' is .* in .*a\.parquet but .* in .*b\.parquet"):
        type_of(tmp_path)


def test_the_order_of_files_does_not_count() -> None:
    """Numbers that a double holds together are doubles, in whatever order they come."""
    kinds = [pa.int32(), pa.uint32(), pa.float32()]
    assert common_type(kinds) == common_type(kinds[::-1]) == common_type([kinds[2], *kinds[:2]]) == pa.float64()


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        (pa.int32(), 2**40, pa.int64()),
        (pa.float32(), 0.1, pa.float64()),
        (pa.float64(), 3, pa.float64()),
        (pa.large_string(), "a", pa.string()),
        (pa.bool_(), True, pa.bool_()),
        (pa.date32(), None, pa.date32()),
        (pa.list_(pa.int8()), [1, None], pa.list_(pa.int8())),
        (pa.int64(), 0.5, None),
        (pa.int64(), "1", None),
        (pa.string(), 1, None),
        (pa.timestamp("us"), 5, None),
        (pa.timestamp("us"), "2024-01-01", None),
        (pa.decimal128(9, 2), 0.1, None),
    ],
)
def test_json_beside_parquet(tmp_path: Path, kind: pa.DataType, value: Any, found: pa.DataType | None) -> None:
    """JSON values take a type with the Parquet column that holds both unchanged, or both places are named."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "k": pa.nulls(1, kind)})
    write_jsonl(tmp_path / "b.jsonl", *rows_of(None, value))
    if found is None:
        with pytest.raises(DataError, match=r"a\.parquet but .* in .*b\.jsonl, row 1"):
            type_of(tmp_path)
    else:
        assert type_of(tmp_path) == found
        assert kept_in(tmp_path) == [None, None, value]


def test_nested_values_of_json_are_not_cut_down(tmp_path: Path) -> None:
    """Arrow drops what a struct has no field for, and makes 1 of 1.5: such rows are rejects."""
    kind = pa.struct({"a": pa.int64(), "b": pa.list_(pa.int64())})
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "k": pa.nulls(1, kind)})
    values = [{"a": 1}, {"a": 1, "c": 2}, {"a": True}, {"b": [1, 1.5]}, {"b": [1, None]}]
    write_jsonl(tmp_path / "b.jsonl", *rows_of(*values))
    blocks = blocks_of(tmp_path, KEPT)
    assert rejects(blocks) == [(row, "wrong_type") for row in (1, 2, 3)]
    assert [v for _, v in documents(blocks, "k")] == [None, {"a": 1, "b": None}, {"a": None, "b": [1, None]}]
