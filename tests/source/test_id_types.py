"""Ids and texts of other types than text."""

from __future__ import annotations

import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_corpus.source.columns import Columns
from embed_corpus.source.texts import ids_of, text_of
from kit.source_files import blocks_of, documents, rejects, write_jsonl, write_parquet

WITH_ID = Columns(("text",), "id")
FOUR = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")


def ids_in(folder: Path, ids: pa.Array) -> tuple[list[str], list[tuple[int, str]]]:
    """The ids of documents and the rejects of a Parquet file with these."""
    write_parquet(folder / "a.parquet", {"id": ids, "text": ["x"] * len(ids)})
    blocks = blocks_of(folder, WITH_ID)
    return [doc_id for _, doc_id in documents(blocks, "doc_id")], rejects(blocks)


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        (pa.array([FOUR.bytes, bytes(16)], pa.uuid()), [str(FOUR), str(uuid.UUID(int=0))]),
        (pa.array([Decimal(1), Decimal(-(10**37))], pa.decimal128(38, 0)), ["1", f"-1{'0' * 37}"]),
        (pa.array([Decimal(7), Decimal(10**75)], pa.decimal256(76, 0)), ["7", f"1{'0' * 75}"]),
        (pa.array([Decimal(7), Decimal(8)], pa.decimal32(9, 0)), ["7", "8"]),
        (pa.array([1.0, float(2**53 - 1)]), ["1", str(2**53 - 1)]),
        (pa.array([-0.0, 5.0], pa.float32()), ["0", "5"]),
        (pa.array(np.array([3, 4], np.float16)), ["3", "4"]),
        (pa.array([b"a", "é".encode()]), ["a", "é"]),
        (pa.array([b"ab", b"cd"], pa.binary(2)), ["ab", "cd"]),
        (pa.array([b"a", b"b"], pa.large_binary()), ["a", "b"]),
        (pa.array([b"a", b"b"], pa.binary_view()), ["a", "b"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        (pa.array([5, 6]).dictionary_encode(), ["5", "6"]),
        (pa.array(["a", "b"]).cast(pa.dictionary(pa.int8(), pa.large_string())), ["a", "b"]),
    ],
    ids=lambda array: str(array.type) if isinstance(array, pa.Array) else "",
)
def test_ids_of_many_types(tmp_path: Path, ids: pa.Array, texts: list[str]) -> None:
    """Whole numbers however stored, UUIDs and bytes that are text come out as the text that everybody writes."""
    assert ids_in(tmp_path, ids) == (texts, [])


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (pa.array([1.0, 1.5]), "wrong_type"),
        (pa.array([1.0, float(2**53)]), "wrong_type"),
        (pa.array([1.0, -float(2**60)]), "wrong_type"),
        (pa.array([1.0, 2.0**24], pa.float32()), "wrong_type"),
        (pa.array([1.0, float("inf")]), "wrong_type"),
        (pa.array([1.0, float("nan")]), "no_id"),
        (pa.array([1.0, None]), "no_id"),
        (pa.array([b"1", b"\xff"]), "invalid_utf8"),
        (pa.array([b"1", None]), "no_id"),
        (pa.array([FOUR.bytes, None], pa.uuid()), "no_id"),
        (pa.array([Decimal(1), Decimal(1)], pa.decimal128(18, 0)), "duplicate_id"),
    ],
    ids=str,
)
def test_ids_that_are_none(tmp_path: Path, ids: pa.Array, reason: str) -> None:
    """An id that is missing, no whole number, perhaps another number than it was, or no UTF-8 rejects its row alone."""
    good, bad = ids_in(tmp_path, ids)
    assert (len(good), bad) == (1, [(1, reason)])


def test_a_reject_says_which_number_it_was(tmp_path: Path) -> None:
    """The number that is no id stands in the reject."""
    write_parquet(tmp_path / "a.parquet", {"id": [1.5], "text": ["x"]})
    (rows,) = blocks_of(tmp_path, WITH_ID)
    assert rows.rejects[0].detail == "id is 1.5, no whole number that double holds exactly"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (10**30, str(10**30)),
        ("1.0", "1.0"),
        (1.5, None),
        (2.0**53, None),
        (True, None),
    ],
)
def test_ids_of_json(tmp_path: Path, value: Any, found: str | None) -> None:
    """A whole number with or without a point is an id; what is no whole number, or may be another, is a reject."""
    write_jsonl(tmp_path / "a.jsonl", {"id": "g", "text": "x"}, {"id": value, "text": "x"})
    blocks = blocks_of(tmp_path, WITH_ID)
    assert [doc_id for _, doc_id in documents(blocks, "doc_id")] == ["g", *([found] if found else [])]
    assert rejects(blocks) == ([] if found else [(1, "wrong_type")])


def test_an_id_may_be_kept_as_what_it_is(tmp_path: Path) -> None:
    """The id column can be kept too, in its own type."""
    for name, ids in (("u", pa.array([FOUR.bytes], pa.uuid())), ("f", pa.array([1.0])), ("b", pa.array([b"k"]))):
        write_parquet(tmp_path / name / "a.parquet", {"id": ids, "text": ["x"]})
        (rows,) = blocks_of(tmp_path / name, Columns(("text",), "id", ("id",)))
        assert rows.table["id"].equals(ids)


@settings(max_examples=60, deadline=None)
@given(stored=st.lists(st.one_of(st.none(), st.binary(min_size=16, max_size=16)), max_size=9), skip=st.integers(0, 9))
def test_uuids_are_written_as_python_writes_them(stored: list[bytes | None], skip: int) -> None:
    """Any bytes, nulls among them, and a slice of them."""
    array = pa.array(stored, pa.uuid())[skip:]
    found = ids_of(array, "id", {})
    found.validate(full=True)
    assert found.to_pylist() == [b and str(uuid.UUID(bytes=b)) for b in stored[skip:]]


# ── texts ─────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=100, deadline=None)
@given(
    lists=st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=4)), max_size=6),
    skip=st.integers(0, 6),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int8(), pa.string())]),
    made=st.sampled_from([pa.list_, pa.large_list]),
)
def test_lists_are_joined(lists: list[Any], skip: int, kind: pa.DataType, made: Any) -> None:
    """A list's texts are joined with a blank line; null and empty ones leave no gap, an empty list no text."""
    raw = [v and [t.encode() if kind == pa.binary() and t is not None else t for t in v] for v in lists]
    found = text_of(pa.array(raw, made(kind))[skip:])
    assert [text or "" for text in found.to_pylist()] == ["\n\n".join(filter(None, v or [])) for v in lists[skip:]]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_passages_are_one_text(tmp_path: Path, name: str) -> None:
    """A list of passages is one document, beside other text columns; one that is no UTF-8 rejects the row."""
    rows = [{"t": "T", "p": ["a", None, "b"]}, {"t": None, "p": []}, {"t": "U", "p": None}]
    if name == "a.jsonl":
        write_jsonl(tmp_path / name, *rows)
    else:
        bytes_of = [r["p"] and [p and p.encode() for p in r["p"]] for r in rows]
        write_parquet(tmp_path / name, {"t": ["T", None, "U", "V"], "p": [*bytes_of, [b"\xc3", b"\xa9"]]})
    blocks = blocks_of(tmp_path, Columns(("t", "p")))
    assert documents(blocks) == [(0, "T\n\na\n\nb"), (2, "U")]
    assert rejects(blocks) == [(1, "empty"), (3, "invalid_utf8")][: 1 + (name == "a.parquet")]
