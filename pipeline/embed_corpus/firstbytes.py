"""What a file really is, by its first bytes: pointers, error pages and containers under another kind's name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ENOUGH", "other_kind", "other_kind_of", "packing_of"]

ENOUGH = 512
"""First bytes of a file that are looked at; fewer do where the file has no more."""

_LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors header; the format's own limit."""

_PACKINGS = {
    "gzip": re.compile(rb"\x1f\x8b\x08[\x00-\x1f]"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "xz": re.compile(rb"\xfd7zXZ\x00"),
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
}
"""How a stream begins that is packed; zstd's second mark is that of a frame to be skipped."""

_SOUND = {
    "jsonl": re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*("|\}|$)'),
    "json": re.compile(rb'(\xef\xbb\xbf)?\s*(\{\s*("|\}|$)|\[\s*(["{\[\]\d-]|[tfn]|$))'),
    "parquet": re.compile(rb"PAR[1E]"),
    "safetensors": re.compile(rb"(?s).{8}\{"),
    **_PACKINGS,
}
"""How a file of each kind begins: whatever else its bytes look like, it is no other."""

_FETCH = "not the file itself: fetch it anew"
_ROWS = "write its rows out as Parquet or JSON lines"
_UTF8 = "convert it to UTF-8 (`iconv -t UTF-8`)"
_OTHERS = {
    rb"version https://git-lfs\.github\.com/": "a Git LFS pointer, not the file itself: run `git lfs pull`",
    rb"(?is)(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)?<(!doctype html|html[\s>])": f"an HTML page, {_FETCH}",
    rb"(\xef\xbb\xbf)?\s*(<\?xml\s|<Error>\s*<Code>)": f"an XML document, perhaps a server's error, {_FETCH}",
    rb"\xff\xfe\0\0|\0\0\xfe\xff|[\s{\[]\0\0\0[ -~\s]\0\0|\0\0\0[\s{\[]\0\0\0[ -~\s]": f"text in UTF-32: {_UTF8}",
    rb"\xff\xfe|\xfe\xff|[\s{\[]\0[ -~\s]\0|\0[\s{\[]\0[ -~\s]": f"text in UTF-16: {_UTF8}",
    rb"PK(\x03\x04|\x05\x06|\x07\x08)": "a zip archive: unpack it",
    rb"(?s).{257}ustar[\0 ]": "a tar archive: unpack it",
    rb"SQLite format 3\0": f"a SQLite database: {_ROWS}",
    rb"ARROW1\0\0|FEA1": f"an Arrow file: {_ROWS}",
    rb"(?s)\xff{4}..\0\0\x10\0{3}": f"an Arrow stream: {_ROWS}",
    rb"ORC[\0-\x1f]": f"an ORC file: {_ROWS}",
    rb"Obj\x01": f"an Avro file: {_ROWS}",
    rb"\x89HDF\r\n\x1a\n": "an HDF5 file",
    rb"%PDF-\d": "a PDF document: extract its text",
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Office document: extract its text",
    rb"\x80[\x02-\x05][\x8a\x95}\](cXK]": "a pickle, which is never loaded",
    rb"PAR1": "a Parquet file: give it the ending .parquet",
    rb"\0{64}": "nothing but zero bytes at its begin, as after a copy that failed: fetch it anew",
}
"""How other kinds begin, and what is told of them; the first that fits counts."""


def packing_of(begin: bytes) -> str | None:
    """Return what a stream that begins so is packed with: `gzip`, `zstd`, `xz`, `bzip2`, or None."""
    return next((name for name, mark in _PACKINGS.items() if mark.match(begin)), None)


def other_kind(begin: bytes, expected: str) -> str | None:
    """Say what a file is that begins so and should be `expected`; None if it may be that.

    Args:
        begin: its first `ENOUGH` bytes.
        expected: `jsonl`, `json`, `parquet`, `safetensors`, `gzip`, `zstd`, `xz` or `bzip2`; of any other kind it is
            not known how its files begin.

    Returns:
        The end of a sentence: "a Git LFS pointer, not the file itself: run `git lfs pull`". What begins as
        `expected` does is never taken for something else, and what nothing is known of is None.
    """
    sound = expected in _SOUND and _SOUND[expected].match(begin)
    if sound and (expected != "safetensors" or int.from_bytes(begin[:8], "little") <= _LONGEST_HEADER):
        return None
    if packing := packing_of(begin):
        return f"packed with {packing}: unpack it"
    return next((told for mark, told in _OTHERS.items() if re.match(mark, begin)), None)


def other_kind_of(file: Path, expected: str) -> str | None:
    """Do what `other_kind` does for a file.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        return other_kind(stream.read(ENOUGH), expected)
