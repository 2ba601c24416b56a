"""Statistics, rejects and snapshots."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus.data import Counts, Reason, Reject
from embed_corpus.errors import OutputError
from embed_corpus.sink import snapshot
from embed_corpus.sink.readback import part_stats
from embed_corpus.sink.rejects import publish_rejects, read_rejects
from embed_corpus.sink.snapshot import PartEntry, entries, latest_snapshot, publish_snapshot
from embed_corpus.store.layout import Layout
from kit.part_blocks import (
    BAD,
    block_of,
    left_in,
    shard_of,
    six_rows,
    the_part,
    write,
)
from kit.places import at


@pytest.mark.parametrize("cache", [None, "", "{half"])
def test_stats_are_rebuilt_from_the_part(layout: Layout, cache: str | None) -> None:
    """The statistics beside a part are a cache: gone or damaged, they are made again from the part alone."""
    stats = write(layout, six_rows())
    assert stats.pop("numerics") == "n"
    cached = at(layout.stats / "5ha4d.json")
    cached.unlink() if cache is None else cached.write_text(cache)
    assert part_stats(layout, the_part(layout).name) == stats
    assert stats["counts"]["rejects"] == {"bad_json": 1}
    assert stats["bytes"] == the_part(layout).stat().st_size
    assert cached.stat().st_size > 9


def test_damaged_part_has_no_stats(layout: Layout) -> None:
    """A part cut short, or a file of someone else's, is named, not counted."""
    write(layout, six_rows())
    part = the_part(layout)
    at(layout.stats / "5ha4d.json").unlink()
    content = part.read_bytes()
    pq.write_table(pa.table({"a": [1]}), at(layout.data / "other-0-0ther.parquet"))
    part.write_bytes(content[:-9])
    for name in (part.name, "other-0-0ther.parquet"):
        with pytest.raises(OutputError, match=rf"{name} is damaged or no part of ours"):
            part_stats(layout, name)


def test_rejects_round_trip(layout: Layout) -> None:
    """Rejects come back as they were recorded, whatever their text; a shard without any has no file."""
    recorded = [BAD, Reject("é/b\n.parquet", 2**40, "empty", "line\r\n\u2028'\"", "id\0")]
    publish_rejects(layout, "a", recorded)
    publish_rejects(layout, "b", [])
    assert read_rejects(layout, "a") == [reject.to_json() for reject in recorded]
    assert read_rejects(layout, "b") == []
    assert left_in(at(layout.rejects)) == ["a.jsonl.zst"]


def test_rejects_are_in_order_and_published_once(layout: Layout) -> None:
    """A shard's rejects stand in the order of its rows; a second attempt leaves the file as it is."""
    early = Reject("a.jsonl", -1, Reason.BAD_JSON)
    block = block_of(shard_of(5), 0, 3, rejects=(early, BAD), silent=1)
    write(layout, block)
    before = at(layout.rejects / "5ha4d.jsonl.zst").read_bytes()
    assert [reject["row"] for reject in read_rejects(layout, "5ha4d")] == [-1, 1, 6]
    the_part(layout).unlink()
    write(layout, block)
    assert at(layout.rejects / "5ha4d.jsonl.zst").read_bytes() == before


# ── snapshots ─────────────────────────────────────────────────────────────────────────────


def entry(name: str, rows: int = 1) -> PartEntry:
    """A part as a snapshot lists it."""
    return PartEntry(name, Counts(rows=rows, documents=rows, rejects={}), 10, "00")


def test_snapshot_numbers_grow(layout: Layout) -> None:
    """Each new list of parts is a new snapshot, the same list is the same one, and the last counts."""
    assert latest_snapshot(layout) is None
    lists = [[entry("a")], [entry("a")], [entry("a"), entry("b", 2)], [entry("a")], []]
    assert [publish_snapshot(layout, parts).number for parts in lists] == [1, 1, 2, 3, 4]
    publish_snapshot(layout, lists[2])
    found = latest_snapshot(layout)
    assert found is not None
    assert (found.number, [part.name for part in found.parts], found.counts.rows) == (5, ["a", "b"], 3)


def test_snapshots_never_change(layout: Layout) -> None:
    """A published snapshot keeps its bytes when the next one comes."""
    publish_snapshot(layout, [entry("a")])
    before = at(layout.snapshots / "000001.json").read_bytes()
    publish_snapshot(layout, [entry("b")])
    assert left_in(at(layout.snapshots)) == ["000001.json", "000002.json"]
    assert at(layout.snapshots / "000001.json").read_bytes() == before


@pytest.fixture
def _other_run(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another run publishes [a] after we looked for the latest snapshot and before we publish ours."""
    real = latest_snapshot
    looked = iter([True])

    def late(of: Layout) -> snapshot.Snapshot | None:
        found = real(of)
        if next(looked, False):
            monkeypatch.setattr(snapshot, "latest_snapshot", real)
            publish_snapshot(of, [entry("a")])
        return found

    monkeypatch.setattr(snapshot, "latest_snapshot", late)
    yield
    assert left_in(at(layout.tmp)) == []


@pytest.mark.usefixtures("_other_run")
@pytest.mark.parametrize(("ours", "number"), [("a", 1), ("b", 2)])
def test_racing_snapshots(layout: Layout, ours: str, number: int) -> None:
    """Of two runs that publish at once, the second takes the first's snapshot if it is equal, else the next number."""
    published = publish_snapshot(layout, [entry(ours)])
    assert (published.number, published.parts[0].name) == (number, ours)
    assert len(left_in(at(layout.snapshots))) == number


def test_entries(layout: Layout) -> None:
    """A part's entry comes from its statistics, and once a snapshot lists it from there: no file is opened."""
    stats = write(layout, six_rows())
    name = the_part(layout).name
    (found,) = entries(layout, [name])
    assert (found.name, found.counts.rows, found.sha256) == (name, 7, stats["sha256"])
    publish_snapshot(layout, [found])
    the_part(layout).unlink()
    at(layout.stats / "5ha4d.json").unlink()
    assert entries(layout, [name]) == [found]


def test_a_part_that_was_redone(layout: Layout) -> None:
    """A part redone with other bits since the last snapshot is listed as it is now, and makes a new snapshot."""
    write(layout, six_rows())
    (old,) = entries(layout, [the_part(layout).name])
    assert publish_snapshot(layout, [old]).number == 1
    the_part(layout).unlink()
    redone = write(layout, six_rows(), seed=1)
    (new,) = entries(layout, [old.name])
    assert new.sha256 == redone["sha256"] != old.sha256
    assert publish_snapshot(layout, [new]).number == 2


def test_only_parts_count(layout: Layout) -> None:
    """Parts are the Parquet files of data/, by name; before the first there is none."""
    assert layout.parts() == []
    at(layout.data).mkdir(parents=True)
    for name in ("b.parquet", "a.parquet", "notes.txt"):
        at(layout.data / name).touch()
    assert layout.parts() == ["a.parquet", "b.parquet"]


def test_damaged_rejects(layout: Layout) -> None:
    """A damaged record of rejects is an error that names the file."""
    publish_rejects(layout, "5ha4d", [BAD])
    at(layout.rejects / "5ha4d.jsonl.zst").write_bytes(b"(/")
    with pytest.raises(OutputError, match=r"5ha4d\.jsonl\.zst is damaged"):
        read_rejects(layout, "5ha4d")
