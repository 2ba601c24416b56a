"""Columns of every type that Arrow can write to Parquet, with the values at a type's edges."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

UNITS = ("s", "ms", "us", "ns")
ZONES = (None, "UTC", "Europe/Berlin", "+05:30")
_WHOLE = [
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
]
_TIMES = [
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
    *(pa.timestamp(unit, zone) for unit in UNITS for zone in ZONES),
    *map(pa.duration, UNITS),
]
_TEXTS = [pa.string(), pa.large_string(), pa.string_view(), pa.json_()]
_BYTES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3), pa.uuid()]
_DECIMALS = [
    *(pa.decimal32(9, 2), pa.decimal64(18, 3), pa.decimal128(38, 10), pa.decimal128(5, 5), pa.decimal256(76, 0)),
]
_OTHERS = [pa.bool_(), pa.bool8(), pa.null(), pa.float16(), pa.float32(), pa.float64()]
FLAT = [*_WHOLE, *_TIMES, *_TEXTS, *_BYTES, *_DECIMALS, *_OTHERS]

WRITTEN = st.fixed_dictionaries(
    {},
    optional={
        "version": st.sampled_from(["1.0", "2.4", "2.6"]),
        "store_schema": st.booleans(),
        "coerce_timestamps": st.sampled_from(["ms", "us"]),
        "use_dictionary": st.booleans(),
        "use_compliant_nested_type": st.booleans(),
        "store_decimal_as_integer": st.booleans(),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "row_group_size": st.just(2),
    },
).map(lambda options: options | ({"allow_truncated_timestamps": True} if "coerce_timestamps" in options else {}))


def _nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    field = st.builds(pa.field, st.sampled_from(["item", "x"]), inner)
    return st.one_of(
        st.builds(pa.list_, field),
        st.builds(pa.large_list, field),
        st.builds(pa.list_view, field),
        st.builds(lambda f: pa.list_(f, 2), field),
        st.lists(inner, min_size=1, max_size=3).map(lambda ks: pa.struct([(f"f{i}", k) for i, k in enumerate(ks)])),
        st.builds(pa.map_, st.sampled_from([pa.string(), pa.int32(), pa.date32()]), inner),
    )


TYPES = st.recursive(
    st.sampled_from([*FLAT, pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.string())]),
    _nested,
    max_leaves=3,
)


def values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Values of a type as Python's, None among them; points in time as whole numbers."""
    return st.one_of(st.none(), _values(kind))


def _values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if isinstance(kind, pa.BaseExtensionType):
        return _of_extension(kind)
    if pa.types.is_dictionary(kind):
        return _values(kind.value_type)
    if pa.types.is_map(kind):
        pairs = st.tuples(_values(kind.key_type), values(kind.item_type))
        return st.lists(pairs, max_size=2, unique_by=lambda pair: pair[0])
    if pa.types.is_struct(kind):
        return st.fixed_dictionaries({field.name: values(field.type) for field in kind})
    if pa.types.is_fixed_size_list(kind):
        return st.lists(values(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    if pa.types.is_nested(kind):
        return st.lists(values(kind.value_type), max_size=3)
    return _flat(kind)


def _of_extension(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if kind == pa.json_():
        return st.sampled_from(['{"a": 1}', "[]", '"é"'])
    return st.booleans() if kind == pa.bool8() else st.binary(min_size=16, max_size=16)


def _flat(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_integer(kind):
        signed = pa.types.is_signed_integer(kind)
        most = 2 ** (kind.bit_width - signed) - 1
        return st.integers(-most - 1 if signed else 0, most)
    if pa.types.is_floating(kind):
        return st.floats(width=kind.bit_width, allow_nan=False)
    if pa.types.is_decimal(kind):
        most = 10**kind.precision - 1
        return st.integers(-most, most).map(lambda n: decimal.Decimal(n).scaleb(-kind.scale, decimal.Context(100)))
    if pa.types.is_date(kind):
        return st.dates()
    if pa.types.is_time(kind):
        return st.integers(0, 86_400 * 1000 ** UNITS.index(kind.unit) - 1)
    if pa.types.is_temporal(kind):
        return st.one_of(_points(kind.unit), st.integers(-(2**63), 2**63 - 1))
    if pa.types.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_null(kind):
        return st.none()
    return st.text(max_size=5) if "string" in str(kind) else st.binary(max_size=5)


def _points(unit: str) -> st.SearchStrategy[int]:
    """Points in time between the years 1 and 9999, also those that nanoseconds cannot say."""
    epoch = dt.datetime(1970, 1, 1)  # noqa: DTZ001
    each = 1000 ** UNITS.index(unit)
    seconds = st.datetimes().map(lambda at: int((at - epoch).total_seconds()))
    return seconds.map(lambda s: s * each).filter(lambda n: -(2**63) <= n < 2**63)
