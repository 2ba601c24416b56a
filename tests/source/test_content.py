"""A digest of what a Parquet shard reads: it changes with that, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus.data import Shard
from embed_corpus.errors import DataError
from embed_corpus.source.columns import Columns
from embed_corpus.source.content import content_of, digest_over, group_digests
from embed_corpus.source.formats.base import Source
from kit.source_files import write_jsonl

COLUMNS = Columns(("text",), "id", ("tags",))
N_ROWS = 40


def write(folder: Path, **changes: dict[int, str]) -> str:
    """Write 40 rows in groups of 10, some values of some columns changed for others; returns the path."""
    names = ("id", "text", "x", "tags")
    columns = {name: [f"{name} {i:02}" for i in range(N_ROWS)] for name in names}
    for name, values in changes.items():
        for row, value in values.items():
            columns[name][row] = value
    table = pa.table(columns | {"tags": [[{"a": value}] for value in columns["tags"]]})
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / "a.parquet", row_group_size=10, compression="none", write_statistics=False)
    return str(folder / "a.parquet")


def digest(path: str, first_row: int = 0, n_rows: int = N_ROWS, form: str = "parquet") -> str:
    """The digest of a shard's content."""
    return content_of(Shard("id", "a.parquet", first_row, n_rows, path=path, format=form), COLUMNS)


def groups_of(path: str) -> list[tuple[int, str]]:
    """The digests of a file's row groups."""
    return group_digests(Source(path, "a.parquet", 0, 0, "", (), format="parquet"), COLUMNS)


@pytest.mark.parametrize("column", ["id", "text", "tags"])
def test_it_changes_with_every_column_that_is_read(tmp_path: Path, column: str) -> None:
    """Ids, texts and kept columns, nested ones too, count; the same content written again is the same."""
    old = digest(write(tmp_path / "old"))
    assert digest(write(tmp_path / "again")) == old
    assert digest(write(tmp_path / "new", **{column: {3: f"{column} XX"}})) != old


def test_columns_that_are_not_read_do_not_count(tmp_path: Path) -> None:
    """A change beside what is embedded embeds nothing."""
    assert digest(write(tmp_path / "new", x={3: "x  XX"})) == digest(write(tmp_path / "old"))


def test_it_is_of_the_row_groups_of_the_range(tmp_path: Path) -> None:
    """A shard of rows 10 to 24 does not see row 3, but sees row 29, which lies in its second row group."""
    old = digest(write(tmp_path / "old"), 10, 15)
    assert digest(write(tmp_path / "a", text={3: "text XX"}), 10, 15) == old
    assert digest(write(tmp_path / "b", text={29: "text XX"}), 10, 15) != old


@pytest.mark.parametrize(("first_row", "n_rows"), [(0, 40), (0, 10), (9, 2), (10, 15), (39, 1), (0, 0)])
def test_planning_and_worker_agree(tmp_path: Path, first_row: int, n_rows: int) -> None:
    """What a worker notes of a range is what is told over the row groups of the whole file."""
    path = write(tmp_path / "a")
    assert digest(path, first_row, n_rows) == digest_over(groups_of(path), first_row, n_rows)


def test_a_name_without_an_ending_hides_no_parquet(tmp_path: Path) -> None:
    """Parquet that is read by --format has the same digest as under its own ending."""
    path = Path(write(tmp_path))
    old = digest(str(path))
    assert digest(str(path.rename(tmp_path / "part-00000"))) == old != ""


def test_jsonl_needs_none(tmp_path: Path) -> None:
    """Its id covers all of its bytes."""
    assert digest(str(write_jsonl(tmp_path / "a.jsonl", {"id": "1", "text": "x"})), form="jsonl") == ""


def test_a_file_cut_short_or_gone_is_told(tmp_path: Path) -> None:
    """By name, with what to do."""
    path = write(tmp_path / "a")
    footer = Path(path).read_bytes()[-2000:]
    Path(path).write_bytes(b"PAR1" + footer)  # its columns lie where nothing is
    for gone in (path, f"{path}.no.parquet"):
        with pytest.raises(DataError, match=r"a\.parquet.*Replace the file"):
            groups_of(gone)
        with pytest.raises(DataError, match=r"a\.parquet.*Replace the file"):
            digest(gone)
