"""Every vector type of the table keeps what it says of itself."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from embed_corpus.vectors import table
from embed_corpus.vectors.codec import Codec, codec_of
from embed_corpus.vectors.ranges import Ranges
from embed_corpus.vectors.table import VECTOR_TYPES, vector_type
from embed_corpus.vectors.ubinary import Ubinary

DIM = 64
VECTORS = np.random.default_rng(0).normal(size=(50, DIM)).astype(np.float32)


class Halves(Ubinary):
    """A type whose numbers Arrow cannot tell from those of another."""


def codec_for(name: str) -> Codec:
    """A codec of a type, with ranges if it needs some."""
    return Codec(name, DIM, Ranges.over(VECTORS) if vector_type(name).needs_ranges else None)


def schema_of(codec: Codec) -> pa.Schema:
    """The schema of a part with its vectors."""
    return pa.schema({"embedding": codec.arrow_type}, codec.metadata())


@pytest.mark.parametrize("name", VECTOR_TYPES)
def test_vectors_come_back(name: str) -> None:
    """Stored numbers are of the column's type and width, and come back as floats, to the bit where it is exact."""
    codec = codec_for(name)
    stored = codec.encode(VECTORS)
    column = pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), codec.width)
    assert (column.type, stored.nbytes) == (codec.arrow_type, len(VECTORS) * codec.n_bytes)
    again = codec.decode(stored)
    assert (again.dtype, again.shape) == (np.float32, VECTORS.shape)
    assert np.array_equal(again, VECTORS) == codec.type.exact
    np.testing.assert_array_equal(codec.encode(again), stored)


@pytest.mark.parametrize("name", VECTOR_TYPES)
def test_a_schema_tells_the_codec(name: str) -> None:
    """Type, dimension and ranges are read from a part alone."""
    codec = codec_for(name)
    found = codec_of(schema_of(codec))
    assert (found.kind, found.dim) == (name, DIM)
    assert codec.ranges is None or codec.ranges.same(found.ranges)


def test_types_that_store_alike_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later type of the table with the same numbers has its name in the part; the first one needs none."""
    monkeypatch.setitem(table.VECTOR_TYPES, "halves", Halves)
    assert codec_of(schema_of(Codec("halves", DIM))).kind == "halves"
    assert codec_of(schema_of(Codec("ubinary", DIM))).kind == "ubinary"
    assert Codec("ubinary", DIM).metadata() == {}


@pytest.mark.parametrize("name", VECTOR_TYPES)
def test_dimensions_that_do_not_fit_are_told(name: str) -> None:
    """A dimension that does not fill whole numbers is a problem of the type alone."""
    assert (Codec(name, 20).problem() is None) == (20 % vector_type(name).dims_each == 0)
