"""Parquet: cut, flipped and lying files, odd types, bombs."""

from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from embed_corpus.source.columns import Columns
from hostile import WITH_ID, Case, holding

N = 12345
"""Rows of the file that is damaged: a number that its footer holds nowhere else."""
NAME = "a.parquet"


def written(table: pa.Table, **options: Any) -> bytes:
    """The bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


def column(values: Any, kind: pa.DataType | None = None, **options: Any) -> bytes:
    """A file of one column, `text`."""
    return written(pa.table({"text": pa.array(values, kind)}), **options)


def plain(checked: bool) -> bytes:
    """A file whose pages are stored as they are."""
    texts = [f"text {i}" for i in range(N)]
    return column(texts, compression="none", use_dictionary=False, write_page_checksum=checked)


def varint(number: int) -> bytes:
    """A number as Thrift writes it: zigzag, seven bits a byte."""
    number, out = number * 2, bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def relabelled(content: bytes, old: int, new: int, first: int = 0, last: int | None = None) -> bytes:
    """The same file, but its footer says `new` where it said `old`, from the `first` such place to the `last`."""
    length = int.from_bytes(content[-8:-4], "little")
    parts = content[-8 - length : -8].split(varint(old))
    places = range(len(parts) - 1)[first:last]
    assert places, "the footer does not hold that number"
    ends = [varint(new if i in places else old) for i in range(len(parts) - 1)] + [b""]
    footer = b"".join(part + end for part, end in zip(parts, ends, strict=True))
    return content[: -8 - length] + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def cut() -> Iterator[Case]:
    """Less than there was."""
    whole = plain(checked=False)
    length = int.from_bytes(whole[-8:-4], "little")
    for what, content in {
        "no-bytes": b"",
        "magic-alone": b"PAR1",
        "no-footer": whole[: -8 - length],
        "half-a-footer": whole[: -length // 2],
        "last-byte-gone": whole[:-1],
        "middle-gone": whole[:1000] + whole[-8 - length :],
        "footer-alone": b"PAR1" + whole[-8 - length :],
        "footer-of-4-GiB": whole[:-8] + b"\xff\xff\xff\xffPAR1",
        "text-in-fact": b'{"text": "x"}\n' * 9,
    }.items():
        yield Case(what, holding(NAME, content), "", NAME)


def flipped() -> Iterator[Case]:
    """A bit that is another: seen by the page's checksum, and in the footer not for sure, but survived."""
    for checked in (True, False):
        whole = plain(checked)
        place = whole.index(b"text 7000")
        flip = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        if checked:
            yield Case("flip-in-checked-page", holding(NAME, flip), "CRC|checksum", NAME)
        else:
            yield Case("flip-in-unchecked-page", holding(NAME, flip), texts=N)
    packed = column([f"text {i}" for i in range(N)], compression="zstd", use_dictionary=False)
    yield Case(
        "flip-in-packed-page", holding(NAME, packed[:5000] + b"\0\0\0\0" + packed[5004:]), "", NAME, any_verdict=True
    )
    length = int.from_bytes(whole[-8:-4], "little")
    for step in range(0, length, 5):
        place = len(whole) - 8 - length + step
        flip = whole[:place] + bytes([whole[place] ^ 1 << step % 8]) + whole[place + 1 :]
        yield Case(f"flip-in-footer-{step:03}", holding(NAME, flip), "", NAME, any_verdict=True)


def lying() -> Iterator[Case]:
    """Footers that a careful hand changed: they parse."""
    whole = plain(checked=False)
    says = "the footer says"
    yield Case("fewer-rows-said", holding(NAME, relabelled(whole, N, N - 1, 2)), says, NAME)
    yield Case("more-rows-said", holding(NAME, relabelled(whole, N, N + 1, 2)), says, NAME)
    yield Case("more-values-too", holding(NAME, relabelled(whole, N, N + 1)), "", NAME)
    yield Case("a-trillion-rows", holding(NAME, relabelled(whole, N, 1 << 40)), says, NAME)
    size = pq.read_metadata(pa.BufferReader(whole)).row_group(0).column(0).total_uncompressed_size
    huge = relabelled(whole, size, 1 << 34, 0, 1)
    yield Case("16-GiB-unpacked-said", holding(NAME, huge), "as a bomb does", NAME)


def types() -> Iterator[Case]:
    """Columns of every kind: text is read however it is stored, and what is no text is refused."""
    text, view = ["a", None, "b"], pa.string_view()
    for what, kind in {
        "large_string": pa.large_string(),
        "string_view": view,
        "dictionary": pa.dictionary(pa.int8(), pa.string()),
        "large-dictionary": pa.dictionary(pa.int32(), pa.large_string()),
    }.items():
        yield Case(f"text-{what}", holding(NAME, column(text, kind)), None, "", ["a", "b"], {"empty": 1})
    nested = pa.struct({"x": pa.string()})
    for kind, value in [
        (pa.int64(), 1),
        (pa.float64(), 1.5),
        (pa.bool_(), True),
        (pa.timestamp("us"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        (pa.decimal128(9, 2), Decimal("1.50")),
        (pa.list_(pa.int8()), [1]),
        (pa.list_(pa.list_(pa.string())), [["x"]]),
        (pa.map_(pa.string(), pa.string()), [("x", "y")]),
        (nested, {"x": "y"}),
    ]:
        base = re.split(r"[<(\[]", str(kind))[0]  # Arrow names what is inside as it pleases
        says = rf"text column 'text' is of type {base}.*, not text"
        name = f"text-{base}{kind.num_fields and kind.field(0).type.id}{kind.id}"
        yield Case(name, holding(NAME, column([value], kind)), says, NAME)
    for kind in (pa.binary(), pa.large_binary(), pa.binary(2), pa.dictionary(pa.int8(), pa.binary()), pa.binary_view()):
        content = column(pa.array([b"ok", None, b"a\xff"]).cast(kind))
        yield Case(f"bytes-{kind}", holding(NAME, content), None, "", ["ok"], {"empty": 1, "invalid_utf8": 1})
    for kind in (pa.list_(pa.string()), pa.large_list(pa.binary()), pa.list_(pa.dictionary(pa.int8(), pa.string()))):
        content = column([["a", None, "", "b"], [], None], kind)
        yield Case(f"texts-{kind}", holding(NAME, content), None, "", ["a\n\nb"], {"empty": 2})
    ids: list[tuple[Any, str | None]] = [
        ([True], "bool"),
        ([["x"]], "list"),
        ([None], None),
        (pa.array([2**64 - 1], pa.uint64()), ""),
    ]
    for values, kind_said in ids:
        table = written(pa.table({"id": values, "text": ["x"]}))
        name = f"id-{type(values[0]).__name__}"
        if kind_said:
            yield Case(name, holding(NAME, table), f"id column 'id' is of type {kind_said}", NAME, columns=WITH_ID)
        elif kind_said is None:
            yield Case(name, holding(NAME, table), rejects={"no_id": 1}, columns=WITH_ID)
        else:
            yield Case(name, holding(NAME, table), texts=["x"], columns=WITH_ID)


def columns() -> Iterator[Case]:
    """Names and places of columns."""
    yield Case("text-null-type", holding(NAME, column([None] * 3)), rejects={"empty": 3})
    yield Case("text-all-null", holding(NAME, column([None] * 3, pa.string())), rejects={"empty": 3})
    yield Case("no-rows", holding(NAME, column([], pa.string())))
    empty = pa.BufferOutputStream()
    pq.ParquetWriter(empty, pa.schema({"text": pa.string()})).close()
    yield Case("no-row-groups", holding(NAME, empty.getvalue().to_pybytes()))
    yield Case("no-columns", holding(NAME, written(pa.table({}))), "has no column 'text'. It has: none", NAME)
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    yield Case("column-twice", holding(NAME, written(twice)), "has 2 columns 'text'", NAME)
    dotted = pa.table({"a": [{"b": "inner"}], "a.b": ["outer"]})
    yield Case("dotted-column", holding(NAME, written(dotted)), texts=["outer"], columns=Columns(("a.b",)))
    inner = dotted.select(["a"])
    yield Case("dotted-field", holding(NAME, written(inner)), texts=["inner"], columns=Columns(("a.b",)))
    yield Case("no-such-field", holding(NAME, written(inner)), "has no column 'a.c'", NAME, columns=Columns(("a.c",)))
    two = pa.StructArray.from_arrays([pa.array(["x"]), pa.array(["y"])], ["b", "b"])
    yield Case(
        "field-twice", holding(NAME, written(pa.table({"a": two}))), "2 columns 'a.b'", NAME, columns=Columns(("a.b",))
    )
    odd = pa.table({"": ["empty"], "a b\n": ["odd"]})
    yield Case("odd-names", holding(NAME, written(odd)), texts=["empty\n\nodd"], columns=Columns(("", "a b\n")))
    kept = pa.table({"text": ["x"], "kept": [[{"a": [1, None]}]]})
    yield Case("nested-kept", holding(NAME, written(kept)), texts=["x"], columns=Columns(("text",), keep=("kept",)))
    again = pa.table({"id": ["a", "a", None, "a\0"], "text": ["x", "y", "z", "\0"]})
    rejects = {"duplicate_id": 1, "no_id": 1}
    yield Case("ids-again", holding(NAME, written(again)), None, "", ["x", "\0"], rejects, columns=WITH_ID)


class Kms(pe.KmsClient):  # type: ignore[misc]
    """Keys wrapped in nothing."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        """Return the key."""
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        """Return the key."""
        return base64.b64decode(wrapped_key)


def locked(folder: Path, plaintext_footer: bool) -> None:
    """Write an encrypted file."""
    config = pe.EncryptionConfiguration("k", column_keys={"k": ["text"]}, plaintext_footer=plaintext_footer)
    config.double_wrapping = False
    keys = pe.CryptoFactory(lambda _: Kms()).file_encryption_properties(pe.KmsConnectionConfig(), config)
    with pq.ParquetWriter(folder / NAME, pa.schema({"text": pa.string()}), encryption_properties=keys) as writer:
        writer.write_table(pa.table({"text": ["secret"]}))


def codecs() -> Iterator[Case]:
    """What Arrow cannot unpack, and what it should not."""
    yield Case("encrypted", lambda f: locked(f, plaintext_footer=False), "encrypted|decrypt", NAME)
    yield Case("encrypted-column", lambda f: locked(f, plaintext_footer=True), "encrypted|decrypt", NAME)
    snappy = column(["x" * 99], compression="snappy", use_dictionary=False)
    codec = snappy.rindex(b"\x19\x18\x04text\x15\x02") + 9  # path_in_schema, then field 4: codec 1
    lzo = snappy[: codec - 1] + b"\x06" + snappy[codec:]
    yield Case("codec-lzo", holding(NAME, lzo), "LZO", NAME)
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["x" * (1 << 20)])
    content = written(pa.table({"text": repeated}), compression="zstd", store_schema=False)
    yield Case("one-text-1000-times", holding(NAME, content), texts=1000, peak_mb=600)
    lists = pa.ListArray.from_arrays(pa.array(range(0, 1001, 10), pa.int32()), repeated)
    content = written(pa.table({"text": lists}), compression="zstd", store_schema=False)
    yield Case("one-text-10-times-in-100-lists", holding(NAME, content), texts=100, peak_mb=900)


def cases() -> Iterator[Case]:
    """Every one of them."""
    for family in (cut, flipped, lying, types, columns, codecs):
        yield from family()
