"""What becomes visible in OUT: whole, once, checked, and the same bytes every time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from embed_corpus.data import Block, Chunks, Counts, Reject, Rows, Shard
from embed_corpus.errors import OutputError, StoreError
from embed_corpus.sink import parts, snapshot
from embed_corpus.sink.commit import attempt, publish, publish_json, replace_json, sweep
from embed_corpus.sink.layout import Layout
from embed_corpus.sink.parts import PartFormat, PartWriter
from embed_corpus.sink.readback import check_part, part_stats, vectors_of
from embed_corpus.sink.rejects import publish_rejects, read_rejects
from embed_corpus.sink.snapshot import PartEntry, entries, latest_snapshot, publish_snapshot

DIM = 8
FACTS = {"space": {"hash": "s", "dim": DIM}, "job": {"hash": "j"}}
FORM = PartFormat(DIM, "float32", {"year": pa.int16()}, keep_text=True, facts=FACTS, normalized=True)
BAD = Reject("a.jsonl", 6, "bad_json", "no é", None)


class Killed(BaseException):
    """What no stage catches."""


def shard_of(n_rows: int) -> Shard:
    """A shard of so many rows."""
    return Shard("5ha4d", "a.jsonl", 0, n_rows)


def block_of(shard: Shard, first: int, stop: int, *, rejects: tuple[Reject, ...] = (), silent: int = -1) -> Block:
    """Documents `first` to `stop`, each of two chunks "left " and "right"; the `silent` one of none."""
    n = stop - first
    table = pa.RecordBatch.from_pydict(
        {
            "doc_id": pa.array([f"d{i}" for i in range(first, stop)], pa.string()),
            "text": pa.array(["left right"] * n, pa.string()),
            "year": pa.array(range(2000 + first, 2000 + stop), pa.int16()),
        }
    )
    doc = np.array([d for d in range(n) for _ in range(2) if first + d != silent], np.int32)
    index = (np.arange(len(doc)) % 2).astype(np.int32)
    start, end = index * np.int64(5), 5 + index * np.int64(5)
    ids = np.zeros(3 * len(doc), np.int32)
    n_tokens = np.full(len(doc), 3, np.int32)
    hashes = tuple(bytes([first + int(d)] * 15 + [int(i)]) for d, i in zip(doc, index, strict=True))
    chunks = Chunks(doc, index, start, end, n_tokens, hashes, ids, truncated=n, cut_words=2 * n)
    return Block(shard, Rows(table, np.arange(first, stop), rejects), chunks)


def vectors_for(block: Block, *, seed: int = 0) -> np.ndarray:
    """Unit vectors that depend on the content hash and the seed alone."""
    assert block.chunks is not None
    rng = [np.random.default_rng([seed, *h]).standard_normal(DIM) for h in block.chunks.content_hash]
    rows = np.array(rng, np.float32).reshape(-1, DIM)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(
    layout: Layout, *blocks: Block, form: PartFormat = FORM, seed: int = 0, numerics: str = "n"
) -> dict[str, Any]:
    """Write one shard from its blocks and commit it."""
    writer = PartWriter(blocks[0].shard, form, layout, numerics)
    with ExitStack() as stack:
        stack.callback(writer.close)
        for block in blocks:
            if block.rows is not None:
                writer.append(block, vectors_for(block, seed=seed))
        return writer.commit()


def six_rows() -> Block:
    """Six documents and one reject: a shard of seven rows."""
    return block_of(shard_of(7), 0, 6, rejects=(BAD,))


def the_part(layout: Layout) -> Path:
    """The one part of OUT."""
    (name,) = layout.parts()
    return layout.data / name


def left_in(folder: Path) -> list[str]:
    """Names of the files in a folder that need not exist."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty OUT."""
    return Layout(tmp_path / "out")


# ── publish ───────────────────────────────────────────────────────────────────────────────


def test_first_wins(tmp_path: Path) -> None:
    """A name is taken once: the second file of that name is lost, and the first stays as it is."""
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    assert publish(tmp_path / "one", tmp_path / "final") == "won"
    assert publish(tmp_path / "two", tmp_path / "final") == "lost"
    assert (tmp_path / "final").read_text() == "one"


def test_lost_reply_is_a_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that was made though its reply got lost (NFS) is ours, and is made durable like any other."""
    (tmp_path / "made").write_text("x")
    os.link(tmp_path / "made", tmp_path / "final")
    synced = _recorded(monkeypatch)
    assert publish(tmp_path / "made", tmp_path / "final") == "won"
    assert synced[-1] == f"fsync {tmp_path}"


def _recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each fsync and link, with its file, and let it happen."""
    events: list[str] = []
    fsync, link = os.fsync, os.link

    def noted_fsync(descriptor: int) -> None:
        events.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink()}")
        fsync(descriptor)

    def noted_link(made: Path, final: Path) -> None:
        events.append(f"link {final}")
        link(made, final)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "link", noted_link)
    return events


def test_bytes_before_name_before_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it has its name, and the folder before the commit is told."""
    (tmp_path / "made").write_text("x")
    (tmp_path / "data").mkdir()
    final = tmp_path / "data" / "final"
    events = _recorded(monkeypatch)
    publish(tmp_path / "made", final)
    assert events == [f"fsync {tmp_path / 'made'}", f"link {final}", f"fsync {tmp_path / 'data'}"]


def failing(error: BaseException, at: int = 1, then: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Give a function that raises at call `at`, and else does what it did before."""
    calls = iter(range(1, 1000))

    def fail(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == at:
            raise error
        assert then is not None
        return then(*args, **kwargs)

    return fail


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EXDEV])
def test_no_hard_links(layout: Layout, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file system without hard links ends the run with exit code 78, and nothing is visible or left."""
    monkeypatch.setattr(os, "link", failing(OSError(number, os.strerror(number))))
    with pytest.raises(StoreError, match=r"out/_embed/rejects: .*cannot link.*Put OUT on a local disk") as error:
        write(layout, six_rows())
    assert error.value.exit_code == 78
    assert (layout.parts(), left_in(layout.tmp)) == ([], [])


def test_no_hard_links_for_root_squash(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own PermissionError for EPERM is told from a lack of access: it is the store's, 78."""
    monkeypatch.setattr(os, "link", failing(PermissionError(errno.EPERM, "Operation not permitted")))
    with pytest.raises(StoreError):
        publish_json(layout.job, {}, layout.tmp)
    assert left_in(layout.meta) == ["tmp"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), Killed(), ValueError("ours")])
def test_attempt_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    """An attempt that fails, however, leaves no file; a failure to write is told as such, with a remedy."""
    told = OutputError if isinstance(error, OSError) else type(error)

    def fail() -> None:
        with attempt(tmp_path / "tmp", "a") as made:
            made.write_text("half")
            raise error

    with pytest.raises(told) as caught:
        fail()
    assert left_in(tmp_path / "tmp") == []
    assert told is not OutputError or "No space left on device. Make room or access" in str(caught.value)


def test_attempt_is_gone_after_success(tmp_path: Path) -> None:
    """What was published keeps its bytes when the attempt's own name goes."""
    assert publish_json(tmp_path / "a.json", {"a": 1}, tmp_path / "tmp") == "won"
    assert left_in(tmp_path / "tmp") == []
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1\n}\n'


@pytest.mark.parametrize("function", [publish_json, replace_json])
def test_folder_that_cannot_be_made(tmp_path: Path, function: Callable[..., Any]) -> None:
    """An OUT that cannot be written is an error of OUT, not one of ours."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        function(tmp_path / "file" / "out" / "a.json", {}, tmp_path / "file" / "tmp")


def test_replace_json_replaces(tmp_path: Path) -> None:
    """A report may change: the last one counts, and is never seen half-written."""
    for value in (1, 2):
        replace_json(tmp_path / "a.json", {"a": value}, tmp_path / "tmp")
    assert "2" in (tmp_path / "a.json").read_text()
    with pytest.raises(TypeError):
        replace_json(tmp_path / "a.json", {"a": object()}, tmp_path / "tmp")
    assert "2" in (tmp_path / "a.json").read_text()
    assert left_in(tmp_path / "tmp") == []


def test_sweep(tmp_path: Path) -> None:
    """What killed attempts left is removed; a live attempt is left alone; a missing folder is none."""
    assert sweep(tmp_path / "gone") == 0
    with attempt(tmp_path, "live") as live:
        (tmp_path / "dead").write_text("half")
        assert sweep(tmp_path) == 1
        assert left_in(tmp_path) == [live.name]


# ── parts ─────────────────────────────────────────────────────────────────────────────────


def test_part_columns(layout: Layout) -> None:
    """A part has one row a chunk, these columns of these types, and says which job made it."""
    write(layout, six_rows())
    table = pq.read_table(the_part(layout))
    assert {field.name: str(field.type) for field in table.schema} == {
        "doc_id": "string",
        "chunk_index": "int32",
        "char_start": "int64",
        "char_end": "int64",
        "n_tokens": "int32",
        "content_hash": "fixed_size_binary[16]",
        "text": "string",
        "year": "int16",
        "embedding": "fixed_size_list<element: float>[8]",
    }
    row = table.slice(3, 1).drop_columns(["embedding", "content_hash"]).to_pylist()
    assert row == [
        {
            "doc_id": "d1",
            "chunk_index": 1,
            "char_start": 5,
            "char_end": 10,
            "n_tokens": 3,
            "text": "right",
            "year": 2001,
        }
    ]


def test_part_metadata(layout: Layout) -> None:
    """The schema's metadata hold space, job, shard and counts as JSON, and nothing of this machine or run."""
    write(layout, six_rows())
    metadata = pq.read_metadata(the_part(layout)).metadata
    ours = {key.decode(): pa.scalar(value).as_py() for key, value in metadata.items() if key.startswith(b"embed_")}
    assert sorted(ours) == [f"embed_corpus.{name}" for name in ("counts", "job", "shard", "space")]
    assert ours["embed_corpus.shard"] == b'"5ha4d"'
    assert b'"rows": 7, "documents": 6, "chunks": 12, "tokens": 36' in ours["embed_corpus.counts"]
    assert str(layout.root).encode() not in the_part(layout).read_bytes()


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_vectors_come_back(layout: Layout, kind: str) -> None:
    """The vectors of a part are those that were given, in order, rounded at most to its type."""
    block = six_rows()
    write(layout, block, form=replace(FORM, vector_type=kind))
    vectors = vectors_of(pq.read_table(the_part(layout))["embedding"])
    assert vectors.dtype == kind
    np.testing.assert_array_equal(vectors, vectors_for(block).astype(kind))


def test_text_is_kept_on_request_only(layout: Layout) -> None:
    """Without keep_text a part holds no text, and without --keep no other column."""
    write(layout, six_rows(), form=replace(FORM, keep_text=False, keep_types={}))
    assert pq.read_schema(the_part(layout)).names == [n for n in parts.RESERVED if n not in ("text", "embedding")] + [
        "embedding"
    ]


def test_same_shard_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows came in blocks, wherever OUT lies, whatever the numerics' name: the same bytes."""
    monkeypatch.setattr(parts, "_GROUP_BYTES", DIM * 4 * 5)
    shard = shard_of(6)
    whole, pieces = Layout(tmp_path / "1"), Layout(tmp_path / "elsewhere" / "2")
    write(whole, block_of(shard, 0, 6), numerics="one")
    write(pieces, *(block_of(shard, i, i + 2) for i in (0, 2, 4)), numerics="two")
    assert the_part(pieces).read_bytes() == the_part(whole).read_bytes()
    groups = [pq.read_metadata(the_part(out)) for out in (whole, pieces)]
    assert [[g.row_group(i).num_rows for i in range(g.num_row_groups)] for g in groups] == [[5, 5, 2]] * 2


@pytest.mark.parametrize("rejects", [(), (BAD,)])
def test_part_without_chunks(layout: Layout, rejects: tuple[Reject, ...]) -> None:
    """A shard of no documents is a part of no row groups, which datasets load as any other."""
    shard = shard_of(len(rejects))
    write(layout, *([block_of(shard, 0, 0, rejects=rejects)] if rejects else [Block(shard)]))
    metadata = pq.read_metadata(the_part(layout))
    assert (metadata.num_rows, metadata.num_row_groups) == (0, 0)
    assert ds.dataset(layout.data).to_table().schema.names == FORM.schema.names
    assert len(read_rejects(layout, shard.id)) == len(rejects)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vector_that_is_not_finite(layout: Layout, value: float) -> None:
    """A document with a vector that is not finite is a reject; none of its chunks stay, all others do."""
    block = block_of(shard_of(3), 0, 3)
    vectors = vectors_for(block)
    vectors[3, 1] = value
    writer = PartWriter(block.shard, FORM, layout, "n")
    added = writer.append(block, vectors)
    writer.commit()
    assert pq.read_table(the_part(layout))["doc_id"].to_pylist() == ["d0", "d0", "d2", "d2"]
    assert (added.documents, added.chunks, added.tokens, added.rejects) == (2, 4, 12, {"not_finite": 1})
    (reject,) = read_rejects(layout, block.shard.id)
    assert (reject["row"], reject["doc_id"], reject["reason"]) == (1, "d1", "not_finite")


def test_document_without_tokens(layout: Layout) -> None:
    """A document of which the tokenizer makes nothing is a reject, so that the rows still add up."""
    stats = write(layout, block_of(shard_of(3), 0, 3, silent=2))
    counts = Counts(**stats["counts"])
    assert (counts.rows, counts.documents, counts.chunks, counts.rejects) == (3, 2, 4, {"no_tokens": 1})
    assert [reject["row"] for reject in read_rejects(layout, "5ha4d")] == [2]


def test_vector_that_is_not_of_unit_length(layout: Layout) -> None:
    """Vectors that should have unit length and have not are never published."""
    block = block_of(shard_of(3), 0, 3)
    vectors = vectors_for(block)
    vectors[4] *= 1.01
    writer = PartWriter(block.shard, FORM, layout, "n")
    writer.append(block, vectors)
    with pytest.raises(OutputError, match="1 vectors are not finite or not of unit length, first in row 4"):
        writer.commit()
    assert (left_in(layout.data), left_in(layout.tmp), left_in(layout.stats)) == ([], [], [])


def test_other_lengths_are_fine_where_the_model_does_not_normalize(layout: Layout) -> None:
    """Unit length is only asked of a model that normalizes."""
    block = block_of(shard_of(3), 0, 3)
    writer = PartWriter(block.shard, replace(FORM, normalized=False), layout, "n")
    writer.append(block, vectors_for(block) * 7)
    assert writer.commit()["counts"]["chunks"] == 6


def test_rows_that_did_not_come_out(layout: Layout) -> None:
    """A shard of which a row is missing is never published."""
    with pytest.raises(OutputError, match=r"a\.jsonl: 6 of 8 rows came out"):
        write(layout, block_of(shard_of(8), 0, 6))
    assert (left_in(layout.data), left_in(layout.tmp)) == ([], [])


def test_dropped_attempt(layout: Layout) -> None:
    """A writer that is closed before its commit leaves nothing, however much was appended."""
    block = six_rows()
    writer = PartWriter(block.shard, FORM, layout, "n")
    writer.append(block, vectors_for(block))
    assert len(left_in(layout.tmp)) == 1
    writer.close()
    assert (left_in(layout.data), left_in(layout.tmp), left_in(layout.rejects)) == ([], [], [])


def test_part_that_does_not_read_back(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part whose bytes were damaged on their way to the disk is noticed before it is published."""
    real = pq.ParquetWriter.close

    def damage(writer: pq.ParquetWriter) -> None:
        real(writer)
        (made,) = layout.tmp.iterdir()
        content = bytearray(made.read_bytes())
        content[content.index(vectors_for(six_rows()).tobytes()) + 5] ^= 1
        made.write_bytes(content)

    monkeypatch.setattr(pq.ParquetWriter, "close", damage)
    with pytest.raises(OutputError, match="does not read back"):
        write(layout, six_rows())
    assert left_in(layout.data) == []


@pytest.mark.parametrize(("dim", "rows"), [(DIM + 1, 12), (DIM, 11)])
def test_check_part_counts(layout: Layout, dim: int, rows: int) -> None:
    """A part with another dimension or number of rows than it should have is named."""
    write(layout, six_rows())
    with pytest.raises(OutputError, match=rf"12 rows of dimension 8 read back, not {rows} of {dim}"):
        check_part(the_part(layout), dim, rows, normalized=True)


# ── racing and resuming ───────────────────────────────────────────────────────────────────


def test_second_writer_of_a_shard(layout: Layout) -> None:
    """Who comes second changes nothing, and tells the statistics of the part that is there, not of his own."""
    first = write(layout, six_rows())
    before = the_part(layout).read_bytes()
    second = write(layout, six_rows(), seed=1)
    assert the_part(layout).read_bytes() == before
    assert second["sha256"] == first["sha256"] == sha256(before).hexdigest()
    assert part_stats(layout, the_part(layout).name) == second
    assert left_in(layout.tmp) == []


STEPS = {"fsync": 4, "link": 2, "replace_json": 1}


def _break_step(monkeypatch: pytest.MonkeyPatch, step: str, at: int, error: BaseException) -> None:
    where = parts if step == "replace_json" else os
    monkeypatch.setattr(where, step, failing(error, at, getattr(where, step)))


def test_steps_of_a_commit(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps that the next test breaks are all there are: first the rejects, then the part."""
    events = _recorded(monkeypatch)
    monkeypatch.setattr(parts, "replace_json", lambda *_: events.append("replace_json"))
    write(layout, six_rows())
    assert [event.split(" ")[0] for event in events] == [
        *["fsync", "link", "fsync"],
        "replace_json",
        *["fsync", "link", "fsync"],
    ]
    assert {step: sum(e.startswith(step) for e in events) for step in STEPS} == STEPS


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), Killed()])
@pytest.mark.parametrize("step", [(name, at) for name, n in STEPS.items() for at in range(1, n + 1)], ids=str)
def test_stopped_at_a_commit_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: tuple[str, int], error: BaseException
) -> None:
    """Wherever a commit stops, data/ has no part or the whole one, and a second attempt gives the same bytes."""
    layout, whole = Layout(tmp_path / "out"), Layout(tmp_path / "whole")
    write(whole, six_rows())
    with monkeypatch.context() as patch:
        _break_step(patch, *step, error)
        with pytest.raises((OutputError, Killed)):
            write(layout, six_rows())
    visible = [path.read_bytes() for path in map(layout.data.joinpath, left_in(layout.data))]
    assert visible == ([the_part(whole).read_bytes()] if step == ("fsync", 4) else [])
    assert left_in(layout.tmp) == []
    stats = write(layout, six_rows())
    assert the_part(layout).read_bytes() == the_part(whole).read_bytes()
    assert stats["sha256"] == sha256(the_part(whole).read_bytes()).hexdigest()
    assert read_rejects(layout, "5ha4d") == [asdict(BAD)]


# ── statistics and rejects ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cache", [None, "", "{half"])
def test_stats_are_rebuilt_from_the_part(layout: Layout, cache: str | None) -> None:
    """The statistics beside a part are a cache: gone or damaged, they are made again from the part alone."""
    stats = write(layout, six_rows())
    assert stats.pop("numerics") == "n"
    cached = layout.stats / "5ha4d.json"
    cached.unlink() if cache is None else cached.write_text(cache)
    assert part_stats(layout, the_part(layout).name) == stats
    assert stats["counts"]["rejects"] == {"bad_json": 1}
    assert stats["bytes"] == the_part(layout).stat().st_size
    assert cached.stat().st_size > 9


def test_damaged_part_has_no_stats(layout: Layout) -> None:
    """A part cut short, or a file of someone else's, is named, not counted."""
    write(layout, six_rows())
    part = the_part(layout)
    (layout.stats / "5ha4d.json").unlink()
    content = part.read_bytes()
    pq.write_table(pa.table({"a": [1]}), layout.data / "other-0-0ther.parquet")
    part.write_bytes(content[:-9])
    for name in (part.name, "other-0-0ther.parquet"):
        with pytest.raises(OutputError, match=rf"{name} is damaged or no part of ours"):
            part_stats(layout, name)


def test_rejects_round_trip(layout: Layout) -> None:
    """Rejects come back as they were recorded, whatever their text; a shard without any has no file."""
    recorded = [BAD, Reject("é/b\n.parquet", 2**40, "empty", "line\r\n\u2028'\"", "id\0")]
    publish_rejects(layout, "a", recorded)
    publish_rejects(layout, "b", [])
    assert read_rejects(layout, "a") == [asdict(reject) for reject in recorded]
    assert read_rejects(layout, "b") == []
    assert left_in(layout.rejects) == ["a.jsonl.zst"]


def test_rejects_are_in_order_and_published_once(layout: Layout) -> None:
    """A shard's rejects stand in the order of its rows; a second attempt leaves the file as it is."""
    early = Reject("a.jsonl", -1, "bad_json")
    block = block_of(shard_of(5), 0, 3, rejects=(early, BAD), silent=1)
    write(layout, block)
    before = (layout.rejects / "5ha4d.jsonl.zst").read_bytes()
    assert [reject["row"] for reject in read_rejects(layout, "5ha4d")] == [-1, 1, 6]
    the_part(layout).unlink()
    write(layout, block)
    assert (layout.rejects / "5ha4d.jsonl.zst").read_bytes() == before


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
    before = (layout.snapshots / "000001.json").read_bytes()
    publish_snapshot(layout, [entry("b")])
    assert left_in(layout.snapshots) == ["000001.json", "000002.json"]
    assert (layout.snapshots / "000001.json").read_bytes() == before


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
    assert left_in(layout.tmp) == []


@pytest.mark.usefixtures("_other_run")
@pytest.mark.parametrize(("ours", "number"), [("a", 1), ("b", 2)])
def test_racing_snapshots(layout: Layout, ours: str, number: int) -> None:
    """Of two runs that publish at once, the second takes the first's snapshot if it is equal, else the next number."""
    published = publish_snapshot(layout, [entry(ours)])
    assert (published.number, published.parts[0].name) == (number, ours)
    assert len(left_in(layout.snapshots)) == number


def test_entries(layout: Layout) -> None:
    """A part's entry comes from its statistics, and once a snapshot lists it from there: no file is opened."""
    stats = write(layout, six_rows())
    name = the_part(layout).name
    (found,) = entries(layout, [name])
    assert (found.name, found.counts.rows, found.sha256) == (name, 7, stats["sha256"])
    publish_snapshot(layout, [found])
    the_part(layout).unlink()
    (layout.stats / "5ha4d.json").unlink()
    assert entries(layout, [name]) == [found]


def test_only_parts_count(layout: Layout) -> None:
    """Parts are the Parquet files of data/, by name; before the first there is none."""
    assert layout.parts() == []
    layout.data.mkdir(parents=True)
    for name in ("b.parquet", "a.parquet", "notes.txt"):
        (layout.data / name).touch()
    assert layout.parts() == ["a.parquet", "b.parquet"]
