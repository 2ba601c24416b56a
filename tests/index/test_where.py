"""Conditions on kept columns."""

from __future__ import annotations

import operator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_corpus.errors import UsageError
from embed_corpus.index.where import _met, _parse

OPS = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def met(condition: str, values: list[Any], kind: pa.DataType) -> list[bool]:
    """Tell which values meet a condition on the column `x y`."""
    name, op, value = _parse(condition)
    assert name == "x y"
    return _met(pa.chunked_array([pa.array(values, kind)]), name, op, value).tolist()


@settings(deadline=None)
@given(
    values=st.lists(st.none() | st.integers(-5, 5), min_size=1),
    op=st.sampled_from(sorted(OPS)),
    value=st.integers(-6, 6) | st.sampled_from([0.5, -2.5, 1e0]),
    space=st.sampled_from(["", " "]),
)
def test_numbers(values: list[int | None], op: str, value: float, space: str) -> None:
    """Each operator is Python's, on whole numbers, floats and decimals; null meets none of them."""
    expected = [v is not None and OPS[op](v, value) for v in values]
    condition = f"x y{space or ' '}{op}{space}{value}"
    assert met(condition, values, pa.int64()) == expected
    assert met(condition, [None if v is None else float(v) for v in values], pa.float64()) == expected
    assert met(condition, [None if v is None else Decimal(v) for v in values], pa.decimal128(9, 2)) == expected


EDGES = [0, 1, -1, 127, 128, -128, -129, 255, 256, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64]


@settings(deadline=None)
@given(
    op=st.sampled_from(sorted(OPS)),
    whole=st.sampled_from(EDGES),
    part=st.sampled_from(["", ".0", ".5"]),
    kind=st.sampled_from([pa.int8(), pa.uint8(), pa.int64(), pa.uint64()]),
)
def test_whole_numbers_at_their_edges(op: str, whole: int, part: str, kind: pa.DataType) -> None:
    """Whole numbers are compared exactly with any number, also where a double or their own type does not hold it."""
    signed = pa.types.is_signed_integer(kind)
    least = -(1 << kind.bit_width - 1) if signed else 0
    values = [value for value in EDGES if least <= value < least + (1 << kind.bit_width)]
    expected = [OPS[op](Decimal(value), Decimal(f"{whole}{part}")) for value in values]
    assert met(f"x y {op} {whole}{part}", [*values, None], kind) == [*expected, False]


def test_a_number_beyond_all_columns_is_refused() -> None:
    """It is not written out digit by digit."""
    with pytest.raises(UsageError, match="the column holds int64: '1e999999999' is no number"):
        met("x y < 1e999999999", [1], pa.int64())


@settings(deadline=None)
@given(values=st.lists(st.none() | st.integers(0, 3), min_size=1), among=st.lists(st.integers(0, 4), min_size=1))
def test_in_and_null(values: list[int | None], among: list[int]) -> None:
    """`in`, `not in`, `is null` and `is not null` divide the rows among them; of null only `is null` is true."""
    listed = ", ".join(map(str, among))
    texts = [None if v is None else str(v) for v in values]
    for rows, kind in ((values, pa.int32()), (texts, pa.string())):
        assert met(f"x y in {listed}", rows, kind) == [v is not None and v in among for v in values]
        assert met(f"x y not in ({listed})", rows, kind) == [v is not None and v not in among for v in values]
        assert met("x y is null", rows, kind) == [v is None for v in values]
        assert met("x y IS NOT NULL", rows, kind) == [v is not None for v in values]


@pytest.mark.parametrize(
    ("kind", "value", "condition", "expected"),
    [
        (pa.timestamp("us", "UTC"), datetime(2024, 5, 1, tzinfo=UTC), ">= 2024-05-01", True),
        (pa.timestamp("ns", "UTC"), datetime(2024, 5, 1, tzinfo=UTC), "= 2024-05-01T02:00+02:00", True),
        (pa.timestamp("s", "Europe/Berlin"), datetime(2024, 4, 30, 22, tzinfo=UTC), "== 2024-05-01", True),
        (pa.timestamp("ms", "Europe/Berlin"), datetime(2024, 4, 30, 22, tzinfo=UTC), "< 2024-04-30T22:00:00Z", False),
        (pa.timestamp("ms"), datetime(2024, 5, 1, 12, tzinfo=UTC).replace(tzinfo=None), "<= '2024-05-01 12:00'", True),
        (pa.date32(), date(2024, 5, 1), ">= 2024-05-01", True),
        (pa.date32(), date(2024, 5, 1), "> 2024-05-01T00:00", False),
        (pa.date64(), date(2024, 5, 1), "< 2024-05-01T12:00", True),
        (pa.bool_(), True, "= true", True),
        (pa.int64(), 1000, "= 1e3", True),
        (pa.float32(), 0.1, "= 0.1", True),
    ],
)
def test_kinds(kind: pa.DataType, value: object, condition: str, expected: bool) -> None:
    """A value is read as what the column holds; points in time are compared as such, in whatever zone."""
    assert met(f"x y {condition}", [value, None], kind) == [expected, False]


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        (pa.int64(), "= many"),
        (pa.int64(), "< nan"),
        (pa.timestamp("us"), "> 2024-05-01T00:00Z"),
        (pa.timestamp("us", "UTC"), "> yesterday"),
        (pa.date32(), "= 5"),
        (pa.bool_(), "= perhaps"),
        (pa.list_(pa.int64()), "= 5"),
    ],
)
def test_values_that_cannot_be(kind: pa.DataType, condition: str) -> None:
    """A value that does not fit is told with the column and what it holds."""
    with pytest.raises(UsageError, match=r"--where x y .*the column holds"):
        met(f"x y {condition}", [None], kind)
