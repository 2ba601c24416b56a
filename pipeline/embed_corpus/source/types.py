"""Types of columns: what they are read as, which may hold text or ids, and which type holds the values of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["common_type", "fits_id", "fits_text", "has_views", "plain_type", "wider"]

_UNITS = ("s", "ms", "us", "ns")
_EXACT_IN_DOUBLE = 32
"""Bits of the whole numbers that a double holds all of, among those that Arrow has."""


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type a column is read as: the plain one behind dictionaries and views; text if all null."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return pa.string()
    return _without_views(kind)


def _without_views(kind: pa.DataType) -> pa.DataType:
    """Return a type with plain texts and bytes in place of views, of which Arrow cannot take some rows."""
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if not pa.types.is_nested(kind):
        return kind
    old = [kind.key_type, kind.item_type] if pa.types.is_map(kind) else [f.type for f in _fields_of(kind)]
    new = [_without_views(inner) for inner in old]
    if new == old:
        return kind
    if pa.types.is_map(kind):
        return pa.map_(*new, keys_sorted=kind.keys_sorted)
    fields = [field.with_type(inner) for field, inner in zip(_fields_of(kind), new, strict=True)]
    if pa.types.is_struct(kind):
        return pa.struct(fields)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(fields[0], kind.list_size)
    if pa.types.is_large_list(kind):
        return pa.large_list(fields[0])
    return pa.list_(fields[0]) if pa.types.is_list(kind) else kind  # a cast of views of lists breaks them (Arrow 26)


def has_views(kind: pa.DataType) -> bool:
    """Tell whether views of texts or bytes are left in a plain type: of them Arrow cannot take some rows."""
    if pa.types.is_map(kind):
        return has_views(kind.key_type) or has_views(kind.item_type)
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)) or (
        pa.types.is_nested(kind) and any(has_views(field.type) for field in _fields_of(kind))
    )


def _fields_of(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(i) for i in range(kind.num_fields)]


def fits_text(kind: pa.DataType) -> bool:
    """Tell whether a column can be embedded: text, bytes that are text, or a list of such."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_text(kind.value_type)
    return _is_text(kind)


def _is_text(kind: pa.DataType) -> bool:
    plain = plain_type(kind)
    return bool(
        plain == pa.string()
        or pa.types.is_binary(plain)
        or pa.types.is_large_binary(plain)
        or pa.types.is_fixed_size_binary(plain)
    )


def fits_id(kind: pa.DataType) -> bool:
    """Tell whether a column can name documents: text, whole numbers (also as decimals or floats), UUIDs."""
    plain = plain_type(kind)
    if pa.types.is_decimal(plain):
        return bool(plain.scale == 0)
    return _is_text(plain) or pa.types.is_integer(plain) or pa.types.is_floating(plain) or plain == pa.uuid()


def common_type(kinds: Iterable[pa.DataType]) -> pa.DataType | None:
    """Return the narrowest type that holds every value of some (plain) types unchanged, None if there is none."""
    ordered = sorted(kinds, key=lambda kind: not pa.types.is_floating(kind))  # int32, uint32, double: a double
    found = ordered[0]
    for kind in ordered[1:]:
        wide = wider(found, kind)
        if wide is None:
            return None
        found = wide
    return found


def wider(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    """Return the type that holds every value of two types unchanged, None if there is none.

    Nanoseconds and coarser points in time have none: each holds some that the other does not.
    """
    a, b = (kind if pa.types.is_null(kind) else plain_type(kind) for kind in (a, b))
    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    for rule in (_wider_number, _wider_decimal, _wider_time, _wider_bytes, _wider_nested):
        if (found := rule(a, b)) is not None:
            return found
    return None


def _wider_number(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if not all(pa.types.is_integer(k) or pa.types.is_floating(k) for k in (a, b)):
        return None
    floating = [k for k in (a, b) if pa.types.is_floating(k)]
    if len(floating) == 2:
        return max(a, b, key=lambda k: k.bit_width)
    if floating:
        whole = b if floating[0] is a else a
        return pa.float64() if whole.bit_width <= _EXACT_IN_DOUBLE else None
    unsigned = [k for k in (a, b) if pa.types.is_unsigned_integer(k)]
    if len(unsigned) != 1:
        return max(a, b, key=lambda k: k.bit_width)
    signed = b if unsigned[0] is a else a
    bits = max(signed.bit_width, 2 * unsigned[0].bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits)


def _wider_decimal(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if not (pa.types.is_decimal(a) and pa.types.is_decimal(b)):
        return None
    scale = max(a.scale, b.scale)
    digits = max(a.precision - a.scale, b.precision - b.scale) + scale
    return pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale) if digits <= 76 else None


def _wider_time(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    if pa.types.is_date(a) and pa.types.is_date(b):
        return pa.date32()  # Parquet has days only
    for tells, made, coarse in (
        (pa.types.is_timestamp, lambda unit: pa.timestamp(unit, a.tz), True),
        (pa.types.is_duration, pa.duration, True),
        (pa.types.is_time, lambda unit: pa.time64(unit) if unit in ("us", "ns") else pa.time32(unit), False),
    ):
        if tells(a) and tells(b):
            if coarse and ("ns" in (a.unit, b.unit) or getattr(a, "tz", None) != getattr(b, "tz", None)):
                return None
            return made(max(a.unit, b.unit, key=_UNITS.index))
    return None


def _wider_bytes(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    large = (pa.types.is_binary, pa.types.is_large_binary)
    return pa.large_binary() if all(any(tells(k) for tells in large) for k in (a, b)) else None


def _wider_nested(a: pa.DataType, b: pa.DataType) -> pa.DataType | None:
    lists = (pa.types.is_list, pa.types.is_large_list)
    if all(any(tells(k) for tells in lists) for k in (a, b)):
        value = wider(a.value_type, b.value_type)
        made = pa.list_ if pa.types.is_list(a) and pa.types.is_list(b) else pa.large_list
        return value and made(a.value_field.with_type(value).with_nullable(nullable=True))
    if pa.types.is_struct(a) and pa.types.is_struct(b) and [f.name for f in a] == [f.name for f in b]:
        inner = [wider(f.type, g.type) for f, g in zip(a, b, strict=True)]
        return None if None in inner else pa.struct([(f.name, kind) for f, kind in zip(a, inner, strict=True)])
    return None
