"""What must not be read file by file: tables, results, OUT itself."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus.errors import DataError
from embed_corpus.source.columns import Columns
from kit.source_files import blocks_of, documents, files_in, texts, write_jsonl, write_parquet

TABLES = {
    "Delta": ("_delta_log/00000000000000000000.json", "data.parquet"),
    "Delta ": ("_delta_log/00000000000000000010.checkpoint.parquet", "lang=de/data.parquet"),
    "Iceberg": ("metadata/v3.metadata.json", "data/x.parquet"),
    "Iceberg ": ("metadata/00001-5b2c1d3e-0000-4000-8000-0123456789ab.gz.metadata.json", "data/lang=de/x.parquet"),
    "Iceberg  ": ("metadata/version-hint.text", "data/x.parquet"),
    "Hudi": (".hoodie/hoodie.properties", "2026/x.parquet"),
    "Lance": ("_versions/1.manifest", "data/x.parquet"),
    "Spark stream": ("_spark_metadata/0", "part-00000.parquet"),
    "Paimon": ("snapshot/snapshot-1", "bucket-0/x.parquet"),
    "Hive": ("x", "delta_0000001_0000001_0000/x.parquet"),
}


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Path]:
    """What a table is called, where it lies, and one of its data files."""
    mark, data = TABLES[request.param]
    folder = tmp_path / "lake" / "deep" / "t"
    for name in (mark, "schema/schema-0", "manifest/m") if request.param == "Paimon" else (mark,):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    write_parquet(folder / data, texts(0, 3))
    write_jsonl(tmp_path / "lake" / "good.jsonl", {"text": "x"})
    return request.param.strip(), folder, folder / data


def test_a_table_is_refused_by_name(table: tuple[str, Path, Path], tmp_path: Path) -> None:
    """A table is refused at any depth below INPUT, and where INPUT is a file, a folder or a glob inside it."""
    name, folder, file = table
    for named in (tmp_path / "lake", folder, file.parent, file, tmp_path / "la*", file.parent / "*.parquet"):
        with pytest.raises(DataError, match=rf"deep/t.* {name}.*deleted or replaced.* instead"):
            files_in(named)


def test_a_link_into_a_table_is_refused(table: tuple[str, Path, Path], tmp_path: Path) -> None:
    """A link is no way around it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "linked.parquet").symlink_to(table[2])
    with pytest.raises(DataError, match=table[0]):
        files_in(tmp_path / "in")


@pytest.mark.parametrize("named", ["lake", "lake/*", "lake/t"])
def test_a_table_without_a_file_that_is_read(tmp_path: Path, named: str) -> None:
    """A table is refused whatever its files are: left out, its rows would be missing."""
    write_jsonl(tmp_path / "lake" / "good.jsonl", {"text": "x"})
    for name in ("lake/t/_versions/1.manifest", "lake/t/data/x.lance"):
        write_jsonl(tmp_path / name)
    with pytest.raises(DataError, match="is a Lance dataset"):
        files_in(tmp_path / named)


def test_a_table_between_a_pattern_and_its_matches(tmp_path: Path) -> None:
    """A pattern that passes over the folder with the log is no way around it."""
    write_jsonl(tmp_path / "lake" / "t" / "_delta_log" / "0.json")
    write_jsonl(tmp_path / "lake" / "t" / "data" / "x.jsonl", {"text": "x"})
    with pytest.raises(DataError, match="lake/t is a Delta table"):
        files_in(tmp_path / "lake" / "*" / "data")


@pytest.mark.parametrize(
    "name",
    [
        "metadata/page.metadata.json",
        "metadata/a.jsonl",
        "snapshot/snapshot-1/a.jsonl",
        "_versions/a.txt",
        "delta_1/a.jsonl",
    ],
)
def test_other_folders_are_no_tables(tmp_path: Path, name: str) -> None:
    """A folder of a like name does not make a table."""
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text('{"title": "x"}\n')
    write_jsonl(tmp_path / "sub" / "a.jsonl", {"text": "x"})
    assert "sub/a.jsonl" in files_in(tmp_path)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A folder that looks like what a run leaves."""
    write_jsonl(tmp_path / "work" / "out" / "_embed" / "job.json", {})
    write_parquet(tmp_path / "work" / "out" / "data" / "x-0000000000-ab.parquet", texts(0, 2))
    write_jsonl(tmp_path / "work" / "docs" / "a.jsonl", {"text": "x"})
    return tmp_path / "work" / "out"


@pytest.mark.parametrize("inside", ["", "data", "data/*.parquet", "..", "data/x-0000000000-ab.parquet"])
def test_a_result_is_refused(result: Path, inside: str) -> None:
    """Vectors are no documents: a result is refused as INPUT, whole, in part, or below it."""
    with pytest.raises(DataError, match=r"work/out is a result of embed-corpus.* Take it out of INPUT"):
        files_in(result / inside)


def test_a_part_is_refused_wherever_it_lies(tmp_path: Path) -> None:
    """A part that was copied out of its result still says what it is; a table that was only made from one is read."""
    made = pa.table({"doc_id": ["a"], "text": ["x"], "embedding": [[0.5]]}).replace_schema_metadata(
        {"embed_corpus.job": "{}"}
    )
    pq.write_table(made, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet is a part that embed-corpus wrote"):
        blocks_of(tmp_path)
    pq.write_table(made.select(["doc_id", "text"]), tmp_path / "a.parquet")
    assert documents(blocks_of(tmp_path, Columns(("text",), "doc_id"))) == [(0, "x")]


@pytest.mark.parametrize("named", ["out", "out/data", "out/*", "out/data/*.parquet"])
def test_out_as_input_is_refused(result: Path, named: str) -> None:
    """INPUT that is OUT, or lies in it, is refused; OUT in a folder of INPUT is left out."""
    with pytest.raises(DataError, match=r"INPUT is, or lies inside, OUT .*name another"):
        files_in(result.parent / named, out=result)
    assert files_in(result.parent, out=result) == ["docs/a.jsonl"]


@pytest.mark.parametrize("first", ["gone", "empty", "*.jsonl"])
def test_swapped_arguments_are_asked_about(tmp_path: Path, first: str) -> None:
    """Where INPUT gives nothing and OUT holds source files, they may be swapped."""
    (tmp_path / "empty").mkdir()
    file = write_jsonl(tmp_path / "corpus" / "a.jsonl", {"text": "x"})
    for out in (tmp_path / "corpus", file):
        with pytest.raises(DataError, match="are the arguments swapped"):
            files_in(tmp_path / first, out=out)
    with pytest.raises(DataError, match=r"[^?)]$|globs may be quoted\)\.$"):
        files_in(tmp_path / first, out=tmp_path / "new")


def test_a_result_and_its_input_swapped(result: Path) -> None:
    """The second night with swapped arguments embeds no vectors, and asks."""
    with pytest.raises(DataError, match=r"is a result of embed-corpus.*are the arguments swapped"):
        files_in(result, out=result.parent / "docs")
