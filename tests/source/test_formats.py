"""Endings, packings, and files whose endings say nothing."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_corpus.errors import DataError
from embed_corpus.source.discover import discover, told_left_out
from embed_corpus.source.lines import open_stream
from embed_corpus.source.plan import inspect_all, make_plan
from embed_corpus.source.read import read_shard
from kit.source_files import PACKED, TEXT, blocks_of, documents, files_in, write_jsonl, write_parquet

ROW = {"text": "heat"}


@pytest.mark.parametrize("packed", [*PACKED, ".gzip", ".zstd"])
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json", ".JSON"])
def test_json_lines_under_every_ending(tmp_path: Path, ending: str, packed: str) -> None:
    """Lines are read whatever they are packed with, from the place where each shard begins."""
    pack = PACKED[{".gzip": ".gz", ".zstd": ".zst"}.get(packed, packed)]
    lines = [{"text": f"line {i}"} for i in range(40)]
    (tmp_path / f"a{ending}{packed}").write_bytes(pack(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    assert documents(blocks_of(tmp_path)) == [(i, line["text"]) for i, line in enumerate(lines)]


@pytest.mark.parametrize(
    "name", ["a.pq", "a.PARQ", "a.parquet.gzip", "a.gz.parquet", "a.parquet.snappy", "a.parquet.gz"]
)
def test_parquet_under_every_ending(tmp_path: Path, name: str) -> None:
    """What a writer puts behind `.parquet` tells how the pages are packed; a file packed as a whole is left out."""
    write_parquet(tmp_path / name, {"text": ["heat"]})
    assert documents(blocks_of(tmp_path)) == [(0, "heat")]
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    assert files_in(tmp_path) == [name]
    with pytest.raises(DataError, match=r"b\.parquet\.gz cannot be read: it is packed with gzip"):
        inspect_all(discover([str(tmp_path / "b.parquet.gz")], tmp_path / "out")[0], TEXT)


@given(
    st.sampled_from([gzip.compress, bz2.compress, lzma.compress]),
    st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(0, 1000),
)
def test_members_one_behind_the_other(
    tmp_path_factory: pytest.TempPathFactory, pack: object, contents: list[bytes], zeros: int, offset: int
) -> None:
    """However many members there are, and zero bytes between them, the bytes are those of all, from any place."""
    codec = {gzip.compress: ".gz", bz2.compress: ".bz2", lzma.compress: ".xz"}[pack]  # type: ignore[index]
    file = tmp_path_factory.getbasetemp() / f"members.jsonl{codec}"
    file.write_bytes(b"".join(pack(content) + bytes(4 * zeros) for content in contents))  # type: ignore[operator]
    whole = b"".join(contents)
    with open_stream(file, min(offset, len(whole))) as stream:
        assert stream.read() == whole[offset:]


@pytest.mark.parametrize("packed", [".gz", ".bz2", ".xz", ".zst"])
def test_no_cut_is_taken_for_the_end(tmp_path: Path, packed: str) -> None:
    """Cut anywhere in the second of two members, a file is refused, never read to the cut."""
    content = b"".join(b'{"text": "%s"}\n' % os.urandom(20).hex().encode() for _ in range(30))
    member = PACKED[packed](content)
    file = tmp_path / f"a.jsonl{packed}"
    for cut in range(1, len(member), 13):
        file.write_bytes(member + member[:cut])
        with pytest.raises(OSError, match=r"Truncated|cut short"), open_stream(file) as stream:
            stream.read()


def test_what_zcat_passes_over_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Garbage behind a gzip file is passed over, with a warning that names the file."""
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "heat"}\n') + b"-- signature")
    assert documents(blocks_of(tmp_path)) == [(0, "heat")]
    assert "a.jsonl.gz: the 12 bytes behind its packed end" in caplog.text


NO_DATA = {
    "package.json": b'{\n  "name": "site"\n}\n',
    "dataset_info.json": b'{"features": {"title": "string"}}',
    "state.json": b'[{"text": "heat"}]',
    "empty/x.json.gz": gzip.compress(b'{"version": 1}'),
}


@pytest.mark.parametrize("name", NO_DATA)
def test_settings_beside_data_are_left_out(tmp_path: Path, name: str) -> None:
    """A `.json` that is no data does not stop a folder that holds some; alone, or named, it is told what is wrong."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(NO_DATA[name])
    for named in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match=r"over 3 lines|no column 'text'|JSON array|several lines"):
            blocks_of(named) if named.is_dir() else inspect_all(discover([str(named)], tmp_path / "out")[0], TEXT)
    write_jsonl(tmp_path / "a.parquet.d" / "part-0.json", {"id": 1}, {"text": "heat"})  # the first text is null
    write_jsonl(tmp_path / "one.json", ROW)
    found, left_out = discover([str(tmp_path)], tmp_path / "out", None, ("text",))
    assert [file.relative for file in found] == ["a.parquet.d/part-0.json", "one.json"]
    assert list(left_out) == [str(tmp_path / name)]


def test_what_is_left_out_is_told_by_kind(tmp_path: Path) -> None:
    """Kinds with their number, an example of each, and what reads them."""
    for name in ("a.jsonl", "b.xlsx", "c.xlsx", "part-00000", "d.json"):
        (tmp_path / name).write_bytes(b'{"text": "x"}\n' if name == "a.jsonl" else b"{\n")
    told = told_left_out(discover([str(tmp_path)], tmp_path / "out", None, ("text",))[1])
    assert told.startswith(f"left out 4 files: 2 .xlsx, e.g. {tmp_path}/b.xlsx; 1 ")
    assert f"1 without ending, e.g. {tmp_path}/part-00000" in told
    assert f"1 with an object over many lines inside, e.g. {tmp_path}/d.json" in told
    assert "--format parquet or jsonl" in told


@pytest.mark.parametrize("packed", PACKED)
def test_format_reads_what_endings_do_not_tell(tmp_path: Path, packed: str) -> None:
    """With --format files are read whose endings say nothing, unpacked by their first bytes; others keep their kind."""
    lines = b"".join(b'{"text": "line %d"}\n' % i for i in range(9))
    (tmp_path / "part-00000").write_bytes(PACKED[packed](lines))
    write_parquet(tmp_path / "x.parquet", {"text": ["heat"]})
    sources = inspect_all(discover([str(tmp_path)], tmp_path / "out", "jsonl")[0], TEXT)
    found = [rows for shard in make_plan(sources, "job").shards for rows in read_shard(shard, TEXT, {})]
    assert [text for _, text in documents(found)] == [*(f"line {i}" for i in range(9)), "heat"]
    assert files_in(tmp_path) == ["x.parquet"]
    with pytest.raises(DataError, match=r"part-00000 cannot be read"):
        inspect_all(discover([str(tmp_path)], tmp_path / "out", "parquet")[0], TEXT)


def test_format_parquet(tmp_path: Path) -> None:
    """Parquet without an ending is read as what it is, and refused as JSON lines."""
    write_parquet(tmp_path / "export-000000000000", {"text": ["heat"]})
    sources = inspect_all(discover([str(tmp_path)], tmp_path / "out", "parquet")[0], TEXT)
    (shard,) = make_plan(sources, "job").shards
    assert documents(list(read_shard(shard, TEXT, {}))) == [(0, "heat")]
    with pytest.raises(DataError, match="it is a Parquet file"):
        inspect_all(discover([str(tmp_path)], tmp_path / "out", "jsonl")[0], TEXT)
