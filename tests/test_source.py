"""From INPUT to documents: what is found, how it is cut, and what becomes of every row."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_corpus.data import Rows, Shard
from embed_corpus.errors import DataError
from embed_corpus.source import inspect, read
from embed_corpus.source.discover import discover, kind_of
from embed_corpus.source.inspect import Columns
from embed_corpus.source.jsonl import lines, open_stream
from embed_corpus.source.plan import Plan, inspect_all, kept_types, make_plan
from embed_corpus.source.read import read_shard

TEXT = Columns(("text",))
PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
GOOD = b'{"id": "good", "text": "fine"}'


def files_in(*inputs: object, out: Path = Path("/nowhere")) -> list[str]:
    """Relative paths of the sources behind INPUT."""
    return [file.relative for file in discover(map(str, inputs), out)[0]]


def plan_of(folder: Path, columns: Columns = TEXT, job: str = "job", limit: int | None = None) -> Plan:
    """The plan of one folder."""
    return make_plan(inspect_all(discover([str(folder)], folder / "out")[0], columns), job, limit)


def blocks_of(folder: Path, columns: Columns = TEXT) -> list[Rows]:
    """Everything that the shards of one folder give."""
    sources = inspect_all(discover([str(folder)], folder / "out")[0], columns)
    types = kept_types(sources, columns)
    return [rows for shard in make_plan(sources, "job").shards for rows in read_shard(shard, columns, types)]


def documents(blocks: list[Rows], column: str = "text") -> list[tuple[int, Any]]:
    """Row number and one column of every document."""
    return [pair for rows in blocks for pair in zip(rows.rows.tolist(), rows.table[column].to_pylist(), strict=True)]


def rejects(blocks: list[Rows]) -> list[tuple[int, str]]:
    """Row number and reason of every reject."""
    return [(reject.row, reject.reason) for rows in blocks for reject in rows.rejects]


def write_jsonl(file: Path, *values: object) -> Path:
    """Write values, one a line; bytes go in as they are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = b"".join((v if isinstance(v, bytes) else json.dumps(v).encode()) + b"\n" for v in values)
    file.write_bytes(PACKED[file.suffix if file.suffix in PACKED else ""](content))
    return file


def write_parquet(file: Path, *groups: dict[str, Any], **options: Any) -> Path:
    """Write a Parquet file with these row groups."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tables = [pa.table(group) for group in groups]
    with pq.ParquetWriter(file, tables[0].schema, **options) as writer:
        for table in tables:
            writer.write_table(table)
    return file


def texts(first: int, n: int) -> dict[str, list[str]]:
    """A row group of texts that tell their row."""
    return {"text": [f"row {i}" for i in range(first, first + n)]}


def not_utf8(kind: str = "string") -> pa.Array:
    """The values "ok", two bytes that are no UTF-8, "yo"; Parquet files hold such, Arrow does not look."""
    large = kind == "large_string"
    offsets = pa.array([0, 2, 4, 6], pa.int64() if large else pa.int32()).buffers()[1]
    array = (pa.LargeStringArray if large else pa.StringArray).from_buffers(3, offsets, pa.py_buffer(b"ok\xff\xfeyo"))
    return pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), array) if kind == "dictionary" else array


@pytest.fixture
def _deadline() -> Iterator[None]:
    """Fail what takes over two seconds, by an error that no stage takes for its own."""

    def late(*_: object) -> None:
        raise AssertionError("hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(2)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# ── discover ──────────────────────────────────────────────────────────────────────────────


def test_folder_is_searched_recursively(tmp_path: Path) -> None:
    """Every file of a known kind below a folder is found, sorted, named by its path relative to the folder."""
    for name in ("b.PARQUET", "a.jsonl", "sub/deep/c.ndjson.gz", "sub/d.jsonl.zst"):
        write_jsonl(tmp_path / name)
    assert files_in(tmp_path) == ["a.jsonl", "b.PARQUET", "sub/d.jsonl.zst", "sub/deep/c.ndjson.gz"]


@pytest.mark.parametrize("name", ["_part.jsonl", ".a.jsonl", "_delta_log/0.jsonl", ".git/a.jsonl", "x/a.jsonl.crc"])
def test_hidden_names_are_skipped_silently(tmp_path: Path, name: str) -> None:
    """Markers, logs and checksums of other tools are neither read nor named."""
    write_jsonl(tmp_path / name)
    write_jsonl(tmp_path / "a.jsonl")
    found, left_out = discover([str(tmp_path)], tmp_path / "out")
    assert ([file.relative for file in found], left_out) == (["a.jsonl"], [])


@pytest.mark.parametrize("pattern", ["", "*", "**/*.*"])
def test_out_inside_input_is_left_out(tmp_path: Path, pattern: str) -> None:
    """What an earlier run wrote is never read as input, however INPUT names its folder."""
    write_jsonl(tmp_path / "sub" / "a.jsonl")
    write_jsonl(tmp_path / "out" / "data" / "part.jsonl")
    assert files_in(tmp_path / pattern, out=tmp_path / "out") == ["sub/a.jsonl"]


@pytest.mark.parametrize(("folder", "out"), [("in", "link/out"), ("link", "in/out")])
def test_out_is_recognised_through_a_link(tmp_path: Path, folder: str, out: str) -> None:
    """OUT is still OUT where it or INPUT is named through a symbolic link."""
    write_jsonl(tmp_path / "in" / "a.jsonl")
    write_jsonl(tmp_path / "in" / "out" / "part.jsonl")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert files_in(tmp_path / folder, out=tmp_path / out) == ["a.jsonl"]


def test_order_is_that_of_relative_paths(tmp_path: Path) -> None:
    """Sources are in the order of their relative paths, wherever their folders lie: so is the plan."""
    write_jsonl(tmp_path / "z" / "a.jsonl")
    write_jsonl(tmp_path / "b" / "b.jsonl")
    assert files_in(tmp_path / "b", tmp_path / "z") == ["a.jsonl", "b.jsonl"]


def test_other_kinds_are_named(tmp_path: Path) -> None:
    """Files of kinds that are not read are handed back, so that the run can say so."""
    write_jsonl(tmp_path / "a.jsonl")
    (tmp_path / "b.csv").write_text("x")
    assert discover([str(tmp_path)], tmp_path / "out")[1] == [tmp_path / "b.csv"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jsonl", ["a.jsonl", "b.jsonl"]),
        ("[ab].jsonl", ["a.jsonl", "b.jsonl"]),
        ("su*/", ["sub/c.jsonl"]),
        ("**/c.jsonl", ["sub/c.jsonl"]),
        ("sub/*.jsonl", ["c.jsonl"]),
    ],
)
def test_glob(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    """A pattern's files are named relative to its part before the first wildcard."""
    for name in ("a.jsonl", "b.jsonl", "sub/c.jsonl", "c.csv"):
        write_jsonl(tmp_path / name)
    assert files_in(f"{tmp_path}/{pattern}") == expected


def test_glob_skips_hidden_folders(tmp_path: Path) -> None:
    """A folder that a pattern matches is no reason to read a log of another tool."""
    write_jsonl(tmp_path / "_delta_log" / "0.jsonl")
    write_jsonl(tmp_path / "a" / "a.jsonl")
    assert files_in(f"{tmp_path}/*") == ["a/a.jsonl"]


def test_glob_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quoted pattern may begin with `~`, as a folder may."""
    monkeypatch.setenv("HOME", str(tmp_path))
    write_jsonl(tmp_path / "c" / "a.jsonl")
    assert files_in("~/c") == files_in("~/c/*.jsonl") == ["a.jsonl"]


def test_name_with_wildcard_characters(tmp_path: Path) -> None:
    """A file that exists under the very name is no pattern."""
    assert files_in(write_jsonl(tmp_path / "a[1].jsonl")) == ["a[1].jsonl"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "does not exist: check the path"),
        ("*.parquet", "matches nothing: check the pattern"),
        ("table.csv", "is of a kind that is not read. Read are .parquet, .jsonl"),
        ("empty", "holds no source file. Read are .parquet"),
        ("others", r"holds no source file \(1 files of other kinds, e.g. .*readme.txt\)"),
    ],
)
def test_nothing_to_read(tmp_path: Path, name: str, message: str) -> None:
    """An INPUT that gives no source is named, with what can be done."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "readme.txt").touch()
    (tmp_path / "table.csv").touch()
    with pytest.raises(DataError, match=message) as error:
        files_in(tmp_path / name)
    assert repr(str(tmp_path / name)) in str(error.value)


def test_two_sources_of_one_name(tmp_path: Path) -> None:
    """Two INPUTs with a file of the same relative path are refused: ids are made of that path."""
    write_jsonl(tmp_path / "1" / "a.jsonl")
    write_jsonl(tmp_path / "2" / "a.jsonl")
    with pytest.raises(DataError, match=r"share the relative path 'a.jsonl': .*1/a.jsonl and .*2/a.jsonl.*common"):
        files_in(tmp_path / "1", tmp_path / "2")


def test_same_input_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file named twice, however spelt, is read once."""
    file = write_jsonl(tmp_path / "a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert files_in(tmp_path, tmp_path, file, f"{tmp_path}/*.jsonl") == ["a.jsonl"]
    assert files_in("a.jsonl", file) == ["a.jsonl"]


def test_kind_of() -> None:
    """The ending tells the kind, whatever its case; a packed Parquet file is none."""
    names = ["A.Parquet", "a.jsonl", "a.NDJSON.GZ", "a.jsonl.zst", "a.parquet.gz", "jsonl"]
    assert [kind_of(name) for name in names] == ["parquet", "jsonl", "jsonl", "jsonl", None, None]


# ── cuts and plans ────────────────────────────────────────────────────────────────────────


def test_row_groups_are_joined_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups share a shard up to its limit; a larger one is split evenly; each row is read once."""
    monkeypatch.setattr(inspect, "SHARD_ROWS", 10)
    monkeypatch.setattr(read, "BLOCK_ROWS", 3)
    sizes = [4, 4, 4, 25, 1]
    write_parquet(tmp_path / "a.parquet", *(texts(sum(sizes[:i]), n) for i, n in enumerate(sizes)))
    cuts = [(shard.first_row, shard.n_rows) for shard in plan_of(tmp_path).shards]
    assert cuts == [(0, 8), (8, 4), (12, 8), (20, 8), (28, 9), (37, 1)]
    assert documents(blocks_of(tmp_path)) == [(i, f"row {i}") for i in range(38)]


def test_row_groups_are_cut_by_bytes_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard's limit counts the bytes of its text columns, not those of others."""
    other = {"other": [os.urandom(1000).hex() for _ in range(10)]}
    write_parquet(tmp_path / "a.parquet", *(texts(10 * i, 10) | other for i in range(3)), use_dictionary=False)
    one = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(0).total_uncompressed_size
    monkeypatch.setattr(inspect, "SHARD_BYTES", 2 * one + 20)
    assert [shard.n_rows for shard in plan_of(tmp_path).shards] == [20, 10]
    monkeypatch.setattr(inspect, "SHARD_BYTES", one // 2 + 20)
    assert [shard.n_rows for shard in plan_of(tmp_path).shards] == [5] * 6


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize(("limit", "value"), [("SHARD_ROWS", 3), ("SHARD_BYTES", 80)])
def test_lines_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: str, limit: str, value: int) -> None:
    """A JSONL file is cut at a shard's limits, and each shard read from its offset gives exactly its rows."""
    monkeypatch.setattr(inspect, limit, value)
    rows = [{"text": f"row {i} é"} for i in range(10)]
    write_jsonl(tmp_path / f"a.jsonl{packed}", *rows)
    shards = plan_of(tmp_path).shards
    assert [(shard.first_row, shard.n_rows) for shard in shards] == [(0, 3), (3, 3), (6, 3), (9, 1)]
    assert len({shard.offset for shard in shards}) == 4
    assert documents(blocks_of(tmp_path)) == [(i, f"row {i} é") for i in range(10)]


def test_line_over_a_shards_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line larger than a shard may be gets a shard of its own; no shard of no rows comes before it."""
    monkeypatch.setattr(inspect, "SHARD_BYTES", 50)
    write_jsonl(tmp_path / "a.jsonl", *({"text": text} for text in ("x" * 90, "a", "b", "y" * 90)))
    assert [shard.n_rows for shard in plan_of(tmp_path).shards] == [1, 2, 1]


def make_corpus(folder: Path) -> Path:
    """One source of each kind."""
    write_parquet(folder / "a.parquet", texts(0, 5))
    write_jsonl(folder / "b.jsonl", *({"text": f"row {i}"} for i in range(5)))
    return folder


def test_plan_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """Neither the folder's place nor the files' times are part of a plan or a shard's id."""
    here = plan_of(make_corpus(tmp_path / "here"))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    os.utime(tmp_path / "there" / "b.jsonl", (1, 1))
    there = plan_of(tmp_path / "there")
    assert (there.id, there.to_json()) == (here.id, here.to_json())
    assert [shard.path for shard in there.shards] != [shard.path for shard in here.shards]


def test_shard_ids_never_change(tmp_path: Path) -> None:
    """The same rows of the same job have this id in every version: else all results are made anew."""
    write_jsonl(tmp_path / "b.jsonl", b'{"text": "row 0"}', b'{"text": "row 1"}')
    (shard,) = plan_of(tmp_path).shards
    assert shard.id == "d3eea2dd1c2c77baff08"


@pytest.mark.parametrize("changed", ["content", "size", "name", "job", "limit"])
def test_plan_tells_what_differs(tmp_path: Path, changed: str) -> None:
    """Other bytes, another name, job hash or limit give the shard another id, and the plan too."""
    (before,) = (plan := plan_of(write_jsonl(tmp_path / "b.jsonl", {"text": "a"}, {"text": "b"}).parent)).shards
    rows = {"content": ["a", "c"], "size": ["a", "bb"]}.get(changed, ["a", "b"])
    (tmp_path / "b.jsonl").unlink()
    write_jsonl(tmp_path / ("c.jsonl" if changed == "name" else "b.jsonl"), *({"text": text} for text in rows))
    after = plan_of(tmp_path, job="new" if changed == "job" else "job", limit=1 if changed == "limit" else None)
    assert before.id != after.shards[0].id
    assert plan.id != after.id


def test_parquet_shard_tells_other_content(tmp_path: Path) -> None:
    """Another footer is another shard, though name and size are the same."""
    one = write_parquet(tmp_path / "1" / "a.parquet", texts(0, 5))
    two = write_parquet(tmp_path / "2" / "a.parquet", texts(1, 5))
    assert one.stat().st_size == two.stat().st_size
    assert plan_of(tmp_path / "1").shards[0].id != plan_of(tmp_path / "2").shards[0].id


def test_limit_cuts_the_last_shard(tmp_path: Path) -> None:
    """`--limit` keeps the first rows: whole shards keep their ids, the last one is cut and reads so."""
    full, limited = plan_of(make_corpus(tmp_path)), plan_of(tmp_path, limit=7)
    assert [shard.n_rows for shard in limited.shards] == [5, 2]
    assert limited.shards[0] == full.shards[0]
    assert documents(list(read_shard(limited.shards[1], TEXT, {}))) == [(0, "row 0"), (1, "row 1")]
    assert documents(list(read_shard(plan_of(tmp_path, limit=3).shards[0], TEXT, {})))[-1] == (2, "row 2")


def test_plan_file_round_trip(tmp_path: Path) -> None:
    """A plan read back from its JSON has the same id, and knows no place on a machine."""
    plan = plan_of(make_corpus(tmp_path))
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    assert (again.id, again.rows) == (plan.id, 10)
    assert str(tmp_path) not in json.dumps(plan.to_json())


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_source_without_rows(tmp_path: Path, name: str) -> None:
    """A source without rows is one shard of no rows, and no error."""
    file = tmp_path / name
    write_parquet(file, {"text": pa.array([], pa.string())}) if name == "a.parquet" else write_jsonl(file)
    assert [shard.n_rows for shard in plan_of(tmp_path).shards] == [0]
    assert documents(blocks_of(tmp_path)) == rejects(blocks_of(tmp_path)) == []


def test_part_name_is_safe() -> None:
    """A part is named by its source's stem, made safe, its first row and its id."""
    assert Shard("ab", "x/été 1.JSONL.gz", 5, 1).part_name == "t_1-0000000005-ab.parquet"
    assert Shard("ab", "…", 0, 1).part_name == "source-0000000000-ab.parquet"


# ── columns ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
@pytest.mark.parametrize(
    ("columns", "missing", "flag"),
    [
        (Columns(("txt",)), "txt", "--text-column"),
        (Columns(("text",), "key"), "key", "--id-column"),
        (Columns(("text",), None, ("url",)), "url", "--keep"),
    ],
)
def test_missing_column(tmp_path: Path, name: str, columns: Columns, missing: str, flag: str) -> None:
    """A column that does not exist is named with those that do, and with the flag to use."""
    row = {"id": "a", "text": "x"}
    write_jsonl(tmp_path / name, row) if name == "a.jsonl" else write_parquet(
        tmp_path / name, {"id": ["a"], "text": ["x"]}
    )
    with pytest.raises(DataError) as error:
        plan_of(tmp_path, columns)
    assert str(error.value) == (f"{tmp_path / name} has no column {missing!r}. It has: id, text. Name one with {flag}.")


@pytest.mark.parametrize(
    ("columns", "values", "message"),
    [
        (TEXT, [1], "text column 'text' is of type int64, not text. Name another with --text-column."),
        (TEXT, [b"a"], "text column 'text' is of type binary, not text. Name another with --text-column."),
        (TEXT, [["a"]], "text column 'text' is of type list<element: string>, not text."),
        (Columns(("x",), "text"), [1.5], "id column 'text' is of type double; ids are text or whole numbers."),
        (Columns(("x",), "text"), [True], "id column 'text' is of type bool; ids are text or whole numbers."),
    ],
)
def test_column_of_unfit_type(tmp_path: Path, columns: Columns, values: list[Any], message: str) -> None:
    """Text columns hold text, ids text or whole numbers: the file and the type are named before any row is read."""
    write_parquet(tmp_path / "a.parquet", {"text": values, "x": ["x"]})
    with pytest.raises(DataError) as error:
        plan_of(tmp_path, columns)
    assert f"{tmp_path / 'a.parquet'}: {message}" in str(error.value)


def test_kept_column_of_two_types(tmp_path: Path) -> None:
    """A kept column that is of one type here and of another there is refused, both files named."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "n": [1]})
    write_parquet(tmp_path / "b.parquet", {"text": ["x"], "n": ["1"]})
    with pytest.raises(DataError, match=r"'n' is int64 in .*a.parquet but string in .*b.parquet"):
        blocks_of(tmp_path, Columns(("text",), None, ("n",)))


def test_a_column_named_twice(tmp_path: Path) -> None:
    """A Parquet file with two columns of the name asked for is refused by name: which one counts would be a guess."""
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet.*'text'"):
        plan_of(tmp_path)


def test_every_bad_file_is_named(tmp_path: Path) -> None:
    """One look at the input finds all unreadable files; the first ten are named in full."""
    for i in range(12):
        (tmp_path / f"{i:02}.parquet").write_bytes(b"garbage")
    with pytest.raises(DataError) as error:
        plan_of(tmp_path)
    *named, last = str(error.value).splitlines()
    assert [line.split(" ")[0] for line in named] == [str(tmp_path / f"{i:02}.parquet") for i in range(10)]
    assert last == "and 2 more"


# ── rows ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "a", "text": null}', "empty"),
        (b'{"id": "a", "text": ""}', "empty"),
        (b'{"id": "a", "text": " \\t\\n\\u3000"}', "empty"),
        (b'{"id": "a"}', "empty"),
        (b"", "empty"),
        (b"  \t", "empty"),
        (b'{"id": "a", "text": "x"', "bad_json"),
        (b'["text"]', "bad_json"),
        (b"null", "bad_json"),
        (b'{"id": "a", "text": "x", "text": "y"}', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"id": "a", "text": ' + b"1" * 5000 + b"}", "bad_json"),
        (b'{"id": "a", "text": "\xff"}', "invalid_utf8"),
        (b'{"id": "a", "text": "\\ud800"}', "invalid_utf8"),
        (b'{"id": "\\udfff", "text": "x"}', "invalid_utf8"),
        (b'{"id": "a", "text": 5}', "wrong_type"),
        (b'{"id": "a", "text": ["x"]}', "wrong_type"),
        (b'{"id": 1.5, "text": "x"}', "wrong_type"),
        (b'{"id": true, "text": "x"}', "wrong_type"),
        (b'{"id": null, "text": "x"}', "no_id"),
        (b'{"text": "x"}', "no_id"),
        (b'{"id": "good", "text": "again"}', "duplicate_id"),
    ],
)
def test_bad_line(tmp_path: Path, line: bytes, reason: str) -> None:
    """A bad line costs only itself: it becomes a reject with its row and reason, its neighbours documents."""
    write_jsonl(tmp_path / "a.jsonl", GOOD, line, b'{"id": 7, "text": "after"}')
    blocks = blocks_of(tmp_path, Columns(("text",), "id"))
    assert documents(blocks, "doc_id") == [(0, "good"), (2, "7")]
    assert rejects(blocks) == [(1, reason)]


@pytest.mark.parametrize("line", [b"{bad", b"[]", b'{"text": "\xff"}', b'{"text": 5}'])
def test_only_bad_lines(tmp_path: Path, line: bytes) -> None:
    """A file of nothing but bad lines gives nothing but rejects."""
    write_jsonl(tmp_path / "a.jsonl", line, line)
    blocks = blocks_of(tmp_path)
    assert [row for row, _ in rejects(blocks)] == [0, 1]
    assert documents(blocks) == []


def test_bad_lines_at_a_blocks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad lines that remain after the last full block are still accounted for."""
    monkeypatch.setattr(read, "BLOCK_ROWS", 2)
    write_jsonl(tmp_path / "a.jsonl", GOOD, GOOD, b"{bad", b"{bad")
    blocks = blocks_of(tmp_path)
    assert ([row for row, _ in documents(blocks)], rejects(blocks)) == ([0, 1], [(2, "bad_json"), (3, "bad_json")])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "a", "text": None}, "empty"),
        ({"id": "a", "text": ""}, "empty"),
        ({"id": "a", "text": " \n\u3000"}, "empty"),
        ({"id": None, "text": "x"}, "no_id"),
        ({"id": "good", "text": "x"}, "duplicate_id"),
    ],
)
def test_bad_parquet_row(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    """The same holds for a row of a Parquet file."""
    rows = [{"id": "good", "text": "fine"}, row, {"id": "b", "text": "after"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    blocks = blocks_of(tmp_path, Columns(("text",), "id"))
    assert documents(blocks, "doc_id") == [(0, "good"), (2, "b")]
    assert rejects(blocks) == [(1, reason)]


@pytest.mark.parametrize("kind", ["string", "large_string"])
@pytest.mark.parametrize("column", ["text", "id", "kept"])
def test_invalid_utf8_in_parquet(tmp_path: Path, kind: str, column: str) -> None:
    """A Parquet value that is no UTF-8 makes its row a reject, in whatever column that is read as text."""
    table = {"text": ["a", "b", "c"], "id": ["d", "e", "f"], "kept": ["g", "h", "i"], column: not_utf8(kind)}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    blocks = blocks_of(tmp_path, Columns(("text",), "id", ("kept",)))
    assert rejects(blocks) == [(1, "invalid_utf8")]
    assert documents(blocks, {"id": "doc_id"}.get(column, column)) == [(0, "ok"), (2, "yo")]


def test_invalid_utf8_in_a_dictionary(tmp_path: Path) -> None:
    """Where Arrow itself refuses a value that is no UTF-8 (dictionaries), the shard fails by name: nothing is lost."""
    pq.write_table(pa.table({"text": not_utf8("dictionary")}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, rows 0 to 2: Invalid UTF8"):
        blocks_of(tmp_path)


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document over the limit is a reject."""
    monkeypatch.setattr(read, "MAX_DOC_BYTES", 10)
    write_jsonl(tmp_path / "a.jsonl", {"text": "x" * 10}, {"text": "é" * 6})
    blocks = blocks_of(tmp_path)
    assert ([row for row, _ in documents(blocks)], rejects(blocks)) == ([0], [(1, "too_large")])


@pytest.mark.parametrize("packed", PACKED)
def test_overlong_line_is_passed_over(tmp_path: Path, packed: str) -> None:
    """A line over the limit is not held in memory: it comes as None with its size, and the next one is whole."""
    (tmp_path / f"a{packed}").write_bytes(PACKED[packed](b"1234567\n" + b"x" * 3_000_000 + b"\nend"))
    with open_stream(tmp_path / f"a{packed}") as stream:
        assert list(lines(stream, 8)) == [(b"1234567\n", 8), (None, 3_000_001), (b"end", 3)]


def test_duplicates_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first good row of an id counts in the whole shard; a rejected row does not take its id."""
    monkeypatch.setattr(read, "BLOCK_ROWS", 2)
    ids = ["a", "b", "c", "a", "d", "b"]
    write_jsonl(tmp_path / "a.jsonl", *({"id": i, "text": "" if n == 1 else "x"} for n, i in enumerate(ids)))
    blocks = blocks_of(tmp_path, Columns(("text",), "id"))
    assert rejects(blocks) == [(1, "empty"), (3, "duplicate_id")]
    assert documents(blocks, "doc_id") == [(0, "a"), (2, "c"), (4, "d"), (5, "b")]


def test_reject_tells_source_and_id(tmp_path: Path) -> None:
    """A reject names its source relative to INPUT, its row, its id where it has one, and what was wrong."""
    write_jsonl(tmp_path / "sub" / "a.jsonl", GOOD, {"id": "b", "text": ""}, b"{")
    empty, broken = (reject for rows in blocks_of(tmp_path, Columns(("text",), "id")) for reject in rows.rejects)
    assert (empty.source, empty.row, empty.doc_id) == ("sub/a.jsonl", 1, "b")
    assert (broken.row, broken.doc_id) == (2, None)
    assert "Expecting property name" in broken.detail


@pytest.mark.parametrize("packed", PACKED)
def test_byte_order_mark(tmp_path: Path, packed: str) -> None:
    """A byte order mark before the first line is no part of it."""
    write_jsonl(tmp_path / f"a.jsonl{packed}", b"\xef\xbb\xbf" + GOOD, GOOD)
    assert documents(blocks_of(tmp_path)) == [(0, "fine"), (1, "fine")]


def test_lines_without_final_newline(tmp_path: Path) -> None:
    """Windows line ends and a last line without one are read as any other."""
    (tmp_path / "a.jsonl").write_bytes(GOOD + b"\r\n" + GOOD)
    assert documents(blocks_of(tmp_path)) == [(0, "fine"), (1, "fine")]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint8(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_parquet_ids_become_text(tmp_path: Path, kind: pa.DataType) -> None:
    """Ids of any text or whole-number type come out as text."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x", "y"], "id": pa.array(["1", "2"]).cast(kind)})
    assert documents(blocks_of(tmp_path, Columns(("text",), "id")), "doc_id") == [(0, "1"), (1, "2")]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_text_of_other_types(tmp_path: Path, kind: pa.DataType) -> None:
    """Every type of text that Parquet readers know comes out as plain text, kept or embedded."""
    array = pa.array(["é", None, "b"]).cast(kind)
    write_parquet(tmp_path / "a.parquet", {"text": array, "k": array})
    blocks = blocks_of(tmp_path, Columns(("text",), None, ("k",)))
    assert documents(blocks) == documents(blocks, "k") == [(0, "é"), (2, "b")]
    assert {rows.table.schema.field("k").type for rows in blocks} == {pa.string()}


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_text_columns_are_joined(tmp_path: Path, name: str) -> None:
    """Text columns are joined with a blank line in the order asked for; empty and null ones leave no gap."""
    rows = [
        {"a": "A", "b": "B"},
        {"a": "A", "b": None},
        {"a": "", "b": "B"},
        {"a": None, "b": ""},
        {"a": " ", "b": "B"},
    ]
    if name == "a.jsonl":
        write_jsonl(tmp_path / name, *rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    blocks = blocks_of(tmp_path, Columns(("b", "a")))
    assert documents(blocks) == [(0, "B\n\nA"), (1, "A"), (2, "B"), (4, "B\n\n ")]
    assert rejects(blocks) == [(3, "empty")]


def test_default_ids(tmp_path: Path) -> None:
    """Without an id column a document is named by its source's relative path and its row."""
    write_jsonl(tmp_path / "sub" / "a.jsonl", GOOD, b"{", GOOD)
    assert documents(blocks_of(tmp_path), "doc_id") == [(0, "sub/a.jsonl#0"), (2, "sub/a.jsonl#2")]


def test_source_name_that_is_no_utf8(tmp_path: Path) -> None:
    """A file whose name is no UTF-8, which Linux allows, is read or refused by name, never a crash."""
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.jsonl"))
    file.write_bytes(GOOD + b"\n{bad\n")
    try:
        (rows,) = blocks_of(tmp_path)
    except DataError as error:
        assert "name" in str(error)  # noqa: PT017  # either is fine
    else:
        assert rows.table["doc_id"].to_pylist()[0].encode()


def test_kept_json_values(tmp_path: Path) -> None:
    """Where only JSONL holds a kept column it is text: other values are kept as their JSON, absent ones as null."""
    values = ["t", 5, True, {"é": [1, None]}, None]
    write_jsonl(tmp_path / "a.jsonl", *({"text": "x", "k": value} for value in values), {"text": "x"})
    kept = [value for _, value in documents(blocks_of(tmp_path, Columns(("text",), None, ("k",))), "k")]
    assert kept == ["t", "5", "true", '{"é": [1, null]}', None, None]


def test_kept_json_values_take_the_type_of_parquet(tmp_path: Path) -> None:
    """Where a Parquet file tells a kept column's type, JSONL values that do not fit it are rejects."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "n": [1]})
    write_jsonl(tmp_path / "b.jsonl", *({"text": "x", "n": n} for n in (2, None, "3", 10**30, True, [4], 1.5)))
    _, blocks = blocks_of(tmp_path, Columns(("text",), None, ("n",)))
    assert blocks.table["n"].to_pylist() == [2, None]
    assert rejects([blocks]) == [(row, "wrong_type") for row in (2, 3, 4, 5, 6)]


def test_number_ids_may_be_kept(tmp_path: Path) -> None:
    """An id column of numbers can also be kept, as numbers, from both kinds of source."""
    write_parquet(tmp_path / "a.parquet", {"text": ["x"], "id": [1]})
    write_jsonl(tmp_path / "b.jsonl", {"text": "x", "id": 2})
    blocks = blocks_of(tmp_path, Columns(("text",), "id", ("id",)))
    assert [value for _, value in documents(blocks, "doc_id")] == ["1", "2"]
    assert [value for _, value in documents(blocks, "id")] == [1, 2]


def test_huge_row_groups_come_in_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are bounded by rows and by bytes of text, whatever the row groups."""
    monkeypatch.setattr(read, "BLOCK_ROWS", 4)
    write_parquet(tmp_path / "p" / "a.parquet", texts(0, 10))
    assert [len(rows.table) for rows in blocks_of(tmp_path / "p")] == [4, 4, 2]
    monkeypatch.setattr(read, "BLOCK_BYTES", 2)
    write_jsonl(tmp_path / "j" / "a.jsonl", *({"text": "x"} for _ in range(3)))
    assert [len(rows.table) for rows in blocks_of(tmp_path / "j")] == [1, 1, 1]
    assert documents(blocks_of(tmp_path / "p")) == [(i, f"row {i}") for i in range(10)]


# ── damaged files ─────────────────────────────────────────────────────────────────────────


def _content(name: str) -> bytes:
    """The bytes of a source of many distinct texts, so that what is compressed is no short file."""
    rows = [{"text": os.urandom(200).hex()} for _ in range(50)]
    if name.endswith(".parquet"):
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows), sink, write_page_checksum=True)
        return sink.getvalue().to_pybytes()
    return PACKED[Path(name).suffix](b"".join(json.dumps(row).encode() + b"\n" for row in rows))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_damaged_file(tmp_path: Path, name: str, damage: str) -> None:
    """A file cut short, or that is something else, is an error that names it and the remedy; never a short read."""
    content = _content(name)
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3] if damage == "cut" else b"\0garbage" * 100)
    with pytest.raises(DataError) as error:
        plan_of(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / name} cannot be read: ")
    assert str(error.value).endswith(" Replace the file, or take it out of INPUT.")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_file_damaged_after_planning(tmp_path: Path, name: str) -> None:
    """A file that turns out unreadable in mid-run fails its shard, with the rows it was to give."""
    content = _content(name)
    (tmp_path / name).write_bytes(content)
    (shard,) = plan_of(tmp_path).shards
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"rows \d+ to 49: .* run the same line again") as error:
        list(read_shard(shard, TEXT, {}))
    assert str(tmp_path / name) in str(error.value)


def test_page_checksum(tmp_path: Path) -> None:
    """A flipped bit in a Parquet page that has a checksum is noticed."""
    content = bytearray(_content("a.parquet"))
    content[len(content) // 3] ^= 1
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet"):
        blocks_of(tmp_path)


def test_footer_with_a_name_that_is_no_utf8(tmp_path: Path) -> None:
    """A Parquet footer whose column name is damaged is an unreadable file like any other."""
    content = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["x"]}), content, store_schema=False)
    (tmp_path / "a.parquet").write_bytes(content.getvalue().to_pybytes().replace(b"text", b"te\xfft"))
    with pytest.raises(DataError, match=r"a\.parquet"):
        plan_of(tmp_path)


@pytest.mark.parametrize("packed", [".gz", ".zst"])
def test_packed_file_of_several_members(tmp_path: Path, packed: str) -> None:
    """Packed files laid end to end, as `cat` makes them, are read to the last."""
    member = PACKED[packed](GOOD + b"\n")
    (tmp_path / f"a.jsonl{packed}").write_bytes(member * 3)
    assert documents(blocks_of(tmp_path)) == [(i, "fine") for i in range(3)]


def test_file_rewritten_with_as_many_rows(tmp_path: Path) -> None:
    """A source that was written anew since the plan fails its shard, though it has as many rows."""
    write_jsonl(tmp_path / "a.jsonl", {"text": "old"})
    (shard,) = plan_of(tmp_path).shards
    write_jsonl(tmp_path / "a.jsonl", {"text": "new"})
    os.utime(tmp_path / "a.jsonl", ns=(0, shard.mtime_ns + 1))
    with pytest.raises(DataError, match=r"a\.jsonl changed during the run"):
        list(read_shard(shard, Columns(("text",)), {}))


@pytest.mark.usefixtures("_deadline")
@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
@pytest.mark.parametrize("rows_left", [5, 2])
def test_file_that_lost_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, rows_left: int) -> None:
    """A shard that no longer has the rows of its plan fails, even if the file now ends before it begins."""

    def write(n: int) -> None:
        write_parquet(tmp_path / name, texts(0, n)) if name == "a.parquet" else write_jsonl(
            tmp_path / name, *[{"text": "x"}] * n
        )

    monkeypatch.setattr(inspect, "SHARD_ROWS", 4)
    write(8)
    shard = plan_of(tmp_path).shards[1]
    write(rows_left)
    with pytest.raises(DataError, match=r"changed during the run \(4 rows planned from row 4, [01] read\)") as error:
        list(read_shard(shard, TEXT, {}))
    assert str(tmp_path / name) in str(error.value)


# ── every row comes out once ──────────────────────────────────────────────────────────────

GOOD_LINES = st.text(min_size=1).filter(lambda t: t.strip()).map(lambda t: json.dumps({"text": f"_{t}"}).encode())
BAD_LINES = st.one_of(
    st.sampled_from(
        [b"", b" ", b"{", b"[1]", b"5", b'{"text": null}', b'{"text": 1}', b'{"a": 1}', b'{"text": "\xc3"}']
    ),
    st.binary(max_size=8).map(lambda b: b"{" + b.replace(b"\n", b"").replace(b"}", b"")),
)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.one_of(GOOD_LINES.map(lambda b: (True, b)), BAD_LINES.map(lambda b: (False, b))), max_size=40),
    packed=st.sampled_from(list(PACKED)),
    shard_rows=st.integers(1, 15),
)
def test_every_line_is_a_document_or_a_reject(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[bool, bytes]], packed: str, shard_rows: int
) -> None:
    """Whatever the lines, the shards and the blocks: each good line is a document, each bad one a reject, by row."""
    folder = tmp_path_factory.mktemp("lines")
    write_jsonl(folder / f"a.jsonl{packed}", GOOD, *(line for _, line in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "SHARD_ROWS", shard_rows)
        patch.setattr(read, "BLOCK_ROWS", 4)
        blocks = blocks_of(folder)
    good = [(0, "fine")] + [(i, json.loads(line)["text"]) for i, (fine, line) in enumerate(rows, 1) if fine]
    assert documents(blocks) == good
    assert [row for row, _ in rejects(blocks)] == [i for i, (fine, _) in enumerate(rows, 1) if not fine]
