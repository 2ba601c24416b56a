"""JSONL: cut-off streams, odd encodings, lines that are too much."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Iterator

import zstandard

from embed_corpus.source.columns import Columns
from hostile import WITH_ID, Case, holding

LINES = b"".join(b'{"text": "line %d"}\n' % i for i in range(50))
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda b: gzip.compress(b, mtime=0),
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
MIB = 1 << 20
KEPT = Columns(("text",), keep=("kept",))


def packed() -> Iterator[Case]:
    """A stream cut short is never taken for its end."""
    for ending, pack in PACK.items():
        whole, name = pack(LINES), f"a.jsonl{ending}"
        refused = {
            "cut-in-half": (whole[: len(whole) // 2], "Truncated compressed stream"),
            "cut-by-a-byte": (whole[:-1], "Truncated compressed stream"),
            "cut-in-header": (whole[:3], "Truncated compressed stream"),
            "second-member-cut": (whole + whole[:20], "Truncated compressed stream"),
            "garbage-between": (whole + b"garbage" + whole, "(inflate|decompress) failed"),
            "much-garbage-behind": (whole + b"garbage" * 999, "(inflate|decompress) failed"),
            "flipped-bit": (whole[:40] + bytes([whole[40] ^ 4]) + whole[41:], "(inflate|decompress) failed"),
            "plain-in-fact": (LINES, "(inflate|decompress) failed"),
            "other-codec": (PACK[".zst" if ending == ".gz" else ".gz"](LINES), "is packed with"),
            "twice-packed": (pack(whole), "inside it is packed with"),
            "no-bytes": (b"", "the file is empty"),
        }
        for what, (content, says) in refused.items():
            flips = what == "flipped-bit" and ending == ".zst"  # it need not notice one without its checksum
            yield Case(f"{what}{ending}", holding(name, content), says, name, any_verdict=flips)
        if ending != ".zst":
            yield Case(f"zeros-between{ending}", holding(name, whole + bytes(512) + whole + bytes(512)), texts=100)
        if ending in {".gz", ".bz2"}:
            yield Case(f"garbage-behind{ending}", holding(name, whole + b"garbage"), texts=50)
        else:
            says = "(inflate|decompress) failed"
            yield Case(f"garbage-behind{ending}", holding(name, whole + b"garbage"), says, name)
        yield Case(f"two-members{ending}", holding(name, whole * 2), texts=100)
        yield Case(f"empty-member{ending}", holding(name, pack(b"")))
    wide = zstandard.ZstdCompressionParameters(window_log=30)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()  # of unknown size: it keeps its window
    window = stream.compress(LINES) + stream.flush()
    yield Case("window-of-1-GiB.zst", holding("a.jsonl.zst", window), "too much memory", "a.jsonl.zst")
    yield Case("packed-in-fact", holding("a.jsonl", PACK[".gz"](LINES)), "it is packed with gzip", "a.jsonl")


def encodings() -> Iterator[Case]:
    """Bytes that are no UTF-8, or UTF-8 and yet odd."""
    two, texts = b'{"text": "one"}\n{"text": "two"}\n', ["one", "two"]
    yield Case("bom", holding("a.jsonl", b"\xef\xbb\xbf" + two), texts=texts)
    yield Case("bom-alone", holding("a.jsonl", b"\xef\xbb\xbf"), rejects={"empty": 1})
    twice = (b"\xef\xbb\xbf" + two) * 2  # two files, one behind the other
    yield Case("bom-in-the-middle", holding("a.jsonl", twice), texts=["one", "two", "two"], rejects={"bad_json": 1})
    utf16 = two.decode().encode("utf-16")
    yield Case("utf-16", holding("a.jsonl", utf16), "it is text in UTF-16", "a.jsonl")
    without_mark = two.decode().encode("utf-16-be")
    yield Case("utf-16-without-mark", holding("a.jsonl", without_mark), "it is text in UTF-16", "a.jsonl")
    yield Case("latin-1", holding("a.jsonl", b'{"text": "caf\xe9"}\n' + two), texts=texts, rejects={"invalid_utf8": 1})
    for what, text in {
        "lone-surrogate": rb"\ud800",
        "surrogates-reversed": rb"\udc00\ud800",
        "surrogate-bytes": b"\xed\xa0\x80",
        "cesu-8": b"\xed\xa0\xbd\xed\xb8\x80",
        "overlong-nul": b"\xc0\x80",
    }.items():
        lines = two + b'{"text": "a%sb"}' % text
        yield Case(what, holding("a.jsonl", lines), texts=texts, rejects={"invalid_utf8": 1})
    yield Case("surrogate-pair", holding("a.jsonl", rb'{"text": "\ud83d\ude00"}'), texts=["\U0001f600"])
    nul = rb'{"id": "a\u0000", "text": "x\u0000y"}' + b"\n" + rb'{"id": "a", "text": "z"}'
    yield Case("nul", holding("a.jsonl", nul), texts=["x\0y", "z"], columns=WITH_ID)
    yield Case("raw-nul", holding("a.jsonl", two + b'{"text": "x\0y"}'), texts=texts, rejects={"bad_json": 1})


def ends_of_lines() -> Iterator[Case]:
    """Where one line ends and the next begins."""
    two, texts = b'{"text": "one"}\n{"text": "two"}\n', ["one", "two"]
    yield Case("crlf", holding("a.jsonl", two.replace(b"\n", b"\r\n")), texts=texts)
    yield Case("cr-alone", holding("a.jsonl", two.replace(b"\n", b"\r")), "as on old Macs", "a.jsonl")
    yield Case("no-last-newline", holding("a.jsonl", two[:-1]), texts=texts)
    yield Case("long-white-end", holding("a.jsonl", two[:-1] + b"\x0c" + b" " * 2000 + b"\r\n"), texts=texts)
    blank = two + b"\n \t\n\r\n" + two
    yield Case("blank-lines", holding("a.jsonl", blank), texts=texts * 2, rejects={"empty": 3})
    separator = '{"text": "a\u2028b\x85c"}\n'.encode()
    yield Case("other-separators", holding("a.jsonl", separator), texts=["a\u2028b\x85c"])
    yield Case("nothing", holding("a.jsonl", b""))
    yield Case("newline-alone", holding("a.jsonl", b"\n"), rejects={"empty": 1})
    pretty = json.dumps([{"text": "x"}], indent=1).encode()
    yield Case("pretty-printed", holding("a.jsonl", pretty), "a JSON array over 5 lines", "a.jsonl")
    rows = [{"id": f"d{i}", "text": f"page {i}"} for i in range(50)]
    array = json.dumps(rows).encode() + b"\n"
    yield Case("array-on-one-line", holding("a.jsonl", array), "it holds a JSON array", "a.jsonl")
    one_each = b"[\n" + b",\n".join(json.dumps(row).encode() for row in rows) + b"\n]\n"  # the last one parses
    yield Case("array-of-lines", holding("a.jsonl", one_each), "a JSON array over 52 lines", "a.jsonl")
    yield Case(
        "array-among-lines", holding("a.jsonl", two + array + two), "line 3 holds a JSON array: .* 105 rows", "a.jsonl"
    )
    objects = b"".join(json.dumps(row, indent=1).encode() + b"\n" for row in rows)
    yield Case("objects-over-lines", holding("a.jsonl", objects), "an object stands on several lines", "a.jsonl")
    together = b"".join(json.dumps(row).encode() for row in rows)
    yield Case("objects-on-one-line", holding("a.jsonl", together), "several objects stand on one line", "a.jsonl")
    yield Case(
        "table-in-fact", holding("a.jsonl", b"id,text\n" + b"1,heat\n" * 20), "not one of its 21 lines", "a.jsonl"
    )
    yield Case("log-before", holding("a.jsonl", b"[INFO] begin\n" + two), texts=texts, rejects={"bad_json": 1})
    yield Case("array-of-one", holding("a.jsonl", two + b'[{"text": "a"}]'), texts=texts, rejects={"bad_json": 1})


def values() -> Iterator[Case]:
    """JSON that is none, or not what is asked for."""
    good = b'{"id": "g", "text": "good"}\n'
    for what, line, reason in [
        ("array", b'["text"]', "bad_json"),
        ("scalar", b'"text"', "bad_json"),
        ("two-objects", b'{"text": "a"} {"text": "b"}', "bad_json"),
        ("duplicate-key", b'{"text": "a", "text": "b"}', "bad_json"),
        ("deep", b'{"text": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "bad_json"),
        ("deep-objects", b'{"a":' * 100_000, "bad_json"),
        ("huge-number", b'{"id": ' + b"9" * 5000 + b', "text": "a"}', "bad_json"),
        ("nan-text", b'{"text": NaN}', "wrong_type"),
        ("infinite-id", b'{"id": -Infinity, "text": "a"}', "wrong_type"),
        ("float-id", b'{"id": 1.5, "text": "a"}', "wrong_type"),
        ("float-id-beyond-whole-ones", b'{"id": 9007199254740992.0, "text": "a"}', "wrong_type"),
        ("bool-id", b'{"id": true, "text": "a"}', "wrong_type"),
        ("list-id", b'{"id": [1], "text": "a"}', "wrong_type"),
        ("object-text", b'{"id": "a", "text": {"text": "a"}}', "wrong_type"),
        ("other-case", b'{"id": "a", "Text": "a"}', "empty"),
        ("id-again", b'{"id": "g", "text": "a"}', "duplicate_id"),
    ]:
        yield Case(f"line-{what}", holding("a.jsonl", good + line), None, "", ["good"], {reason: 1}, columns=WITH_ID)
    missing = {"other-case-only": b'{"Text": "a"}', "other-key": b'{"body": "a"}'}
    for what, line in missing.items():
        yield Case(what, holding("a.jsonl", line), "has no column 'text'. It has: ", "a.jsonl")
    big = b'{"text": "a", "kept": 1' + b"0" * 400 + b"}"
    yield Case("huge-kept-number", holding("a.jsonl", big), "a whole number beyond 64 bits", "a.jsonl", columns=KEPT)
    odd = b'{"text": "a", "kept": [NaN, 1e999, {"x": null}]}'
    yield Case("odd-kept-values", holding("a.jsonl", odd), texts=["a"], columns=KEPT)
    # What is parsed with one call to spare cannot be written out again with one less.
    nearly = b"".join(b'{"text": "a", "kept": %s1%s}\n' % (b"[" * n, b"]" * n) for n in range(700, 1000))
    yield Case("nearly-too-deep", holding("a.jsonl", nearly), any_verdict=True, columns=KEPT)
    surrogate = rb'{"text": "a", "kept": {"x": "\ud800"}}'
    yield Case("surrogate-in-kept", holding("a.jsonl", surrogate), rejects={"invalid_utf8": 1}, columns=KEPT)


def bombs() -> Iterator[Case]:
    """Little to store, much to hold."""
    x, spaces = gzip.compress(b"x" * (4 * MIB), 1, mtime=0), zstandard.compress(b" " * (16 * MIB))

    def member(content: bytes) -> bytes:
        return gzip.compress(content, mtime=0)

    long = [member(b'{"text": "') + x * (mib // 4) + member(b'"}\n') for mib in (100, 520)]
    lines = b"".join(long) + member(b'{"text": "after"}')
    name = "a.jsonl.gz"
    # A line is held twice while it is read, 512 MiB of it at most.
    yield Case("lines-of-100-and-520-MiB", holding(name, lines), None, "", 2, {"too_large": 1}, peak_mb=1400)
    lists = member(b'{"x": [') + member(b"[]," * MIB) * 30 + member(b'[]]}\n{"text": "after"}')
    yield Case("line-of-30-M-lists", holding(name, lists), None, "", ["after"], {"too_large": 1}, peak_mb=700)
    yield Case("spaces-1-GiB", holding("a.jsonl.zst", spaces * 66), "as a bomb does", "a.jsonl.zst", peak_mb=1400)


def cases() -> Iterator[Case]:
    """Every one of them."""
    for family in (packed, encodings, ends_of_lines, values, bombs):
        yield from family()
