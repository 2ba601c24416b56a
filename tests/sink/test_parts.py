"""Parts: what is in them, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from embed_corpus.data import Counts, Reject, ShardEnd
from embed_corpus.errors import OutputError
from embed_corpus.sink import parts
from embed_corpus.sink.parts import PartWriter
from embed_corpus.sink.readback import check_part, part_stats, vectors_of
from embed_corpus.sink.rejects import read_rejects
from embed_corpus.store.layout import Layout
from kit.part_blocks import (
    BAD,
    DIM,
    FORM,
    block_of,
    huge_block,
    in_pieces,
    left_in,
    shard_of,
    six_rows,
    the_part,
    vectors_for,
    write,
)
from kit.places import at


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


def test_same_shard_same_bytes(tmp_path: Path) -> None:
    """However the rows came in blocks, wherever OUT lies, whatever the numerics' name: the same bytes."""
    shard, form = shard_of(6), replace(FORM, group_bytes=DIM * 4 * 5)
    whole, pieces = Layout(tmp_path / "1"), Layout(tmp_path / "elsewhere" / "2")
    write(whole, block_of(shard, 0, 6), form=form, numerics="one")
    write(pieces, *(block_of(shard, i, i + 2) for i in (0, 2, 4)), form=form, numerics="two")
    assert the_part(pieces).read_bytes() == the_part(whole).read_bytes()
    groups = [pq.read_metadata(the_part(out)) for out in (whole, pieces)]
    assert [[g.row_group(i).num_rows for i in range(g.num_row_groups)] for g in groups] == [[5, 5, 2]] * 2


@pytest.mark.parametrize("rejects", [(), (BAD,)])
def test_part_without_chunks(layout: Layout, rejects: tuple[Reject, ...]) -> None:
    """A shard of no documents is a part of no row groups, which datasets load as any other."""
    shard = shard_of(len(rejects))
    write(layout, *([block_of(shard, 0, 0, rejects=rejects)] if rejects else [ShardEnd(shard)]))
    metadata = pq.read_metadata(the_part(layout))
    assert (metadata.num_rows, metadata.num_row_groups) == (0, 0)
    assert ds.dataset(at(layout.data)).to_table().schema.names == FORM.schema.names
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


@pytest.mark.parametrize("lost", [None, 0, 7, 23])
def test_huge_document_in_pieces(tmp_path: Path, lost: int | None) -> None:
    """A document that comes in pieces gives the part, counts and rejects of the document in one.

    Also when a vector is `lost` whose predecessors were written in groups of five by then.
    """
    shard, form = shard_of(9), replace(FORM, reject_bytes=20, group_bytes=DIM * 4 * 5)
    huge = huge_block(shard, 2, 24)
    vectors = vectors_for(huge)
    if lost is not None:
        vectors[lost, 1] = np.nan
    before, after = block_of(shard, 0, 2), block_of(shard, 3, 8)
    outs = []
    for name, pieces in (("whole", [(huge, vectors)]), ("pieces", in_pieces(huge, vectors, 5))):
        layout = Layout(tmp_path / name)
        writer = PartWriter(shard, form, layout, "n")
        taken = [(before, vectors_for(before)), *pieces, (after, vectors_for(after))]
        added = [writer.append(*one) for one in taken]
        assert len(left_in(at(layout.tmp))) == 1
        stats = writer.commit()
        assert sum(added, Counts()) == Counts(**stats["counts"])
        outs.append((the_part(layout).read_bytes(), stats, read_rejects(layout, shard.id), left_in(at(layout.tmp))))
    assert outs[0] == outs[1]
    counts = Counts(**outs[1][1]["counts"])
    assert (counts.documents, counts.chunks) == ((8, 38) if lost is None else (7, 14))
    assert counts.rejects == {"bad_json": 1} | ({} if lost is None else {"not_finite": 1})


def test_rejects_come_by_row(layout: Layout) -> None:
    """The record of rejects is in the order of the source, in whichever block they came."""
    shard = shard_of(5)
    first, last = block_of(shard, 0, 2, rejects=(replace(BAD, row=4),)), block_of(shard, 2, 4)
    vectors = vectors_for(last)
    vectors[2, 0] = np.nan
    writer = PartWriter(shard, FORM, layout, "n")
    writer.append(first, vectors_for(first))
    writer.append(last, vectors)
    writer.commit()
    assert [reject["row"] for reject in read_rejects(layout, shard.id)] == [3, 4]


def test_number_too_large_for_float16(layout: Layout) -> None:
    """A document with a number that float16 cannot hold is a reject, not the end of the run."""
    block = block_of(shard_of(3), 0, 3)
    vectors = vectors_for(block)
    vectors[3, 1] = 1e5
    writer = PartWriter(block.shard, replace(FORM, vector_type="float16", normalized=False), layout, "n")
    assert writer.append(block, vectors).rejects == {"not_finite": 1}
    writer.commit()
    assert pq.read_table(the_part(layout))["doc_id"].to_pylist() == ["d0", "d0", "d2", "d2"]


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
    assert (left_in(at(layout.data)), left_in(at(layout.tmp)), left_in(at(layout.stats))) == ([], [], [])


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
    assert (left_in(at(layout.data)), left_in(at(layout.tmp))) == ([], [])


def test_dropped_attempt(layout: Layout) -> None:
    """A writer that is closed before its commit leaves nothing, however much was appended."""
    block = six_rows()
    writer = PartWriter(block.shard, FORM, layout, "n")
    writer.append(block, vectors_for(block))
    assert len(left_in(at(layout.tmp))) == 1
    writer.close()
    assert (left_in(at(layout.data)), left_in(at(layout.tmp)), left_in(at(layout.rejects))) == ([], [], [])


def test_part_that_does_not_read_back(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part whose bytes were damaged on their way to the disk is noticed before it is published."""
    real = pq.ParquetWriter.close

    def damage(writer: pq.ParquetWriter) -> None:
        real(writer)
        (made,) = at(layout.tmp).iterdir()
        content = bytearray(made.read_bytes())
        content[content.index(vectors_for(six_rows()).tobytes()) + 5] ^= 1
        made.write_bytes(content)

    monkeypatch.setattr(pq.ParquetWriter, "close", damage)
    with pytest.raises(OutputError, match="does not read back"):
        write(layout, six_rows())
    assert left_in(at(layout.data)) == []


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
    assert left_in(at(layout.tmp)) == []
