"""A vector for each document: the weighted mean of its chunks, made from the part alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from embed_corpus.data import Block, Reject
from embed_corpus.errors import OutputError
from embed_corpus.sink import documents
from embed_corpus.sink.documents import check_documents, publish_documents
from embed_corpus.sink.parts import PartFormat
from embed_corpus.sink.quarantine import set_aside
from embed_corpus.sink.readback import vectors_of
from embed_corpus.store.base import Key
from embed_corpus.store.layout import Layout
from embed_corpus.store.local import Folder
from embed_corpus.vectors.codec import Codec, codec_of
from embed_corpus.vectors.ranges import Ranges
from kit.part_blocks import DIM, FORM, block_of, left_in, shard_of, six_rows, the_part, vectors_for, write
from kit.places import at

RANGES = Ranges(np.full(DIM, -1, np.float32), np.linspace(0.9, 1, DIM, dtype=np.float32))

WITH = replace(FORM, documents=True)


def uneven() -> Block:
    """Six documents whose chunks have different numbers of tokens."""
    block = six_rows()
    n_tokens = np.arange(2, 14, dtype=np.int32)
    chunks = replace(block.chunks, n_tokens=n_tokens, input_ids=np.zeros(n_tokens.sum(), np.int32))
    return replace(block, chunks=chunks)


def means(block: Block, codec: Codec) -> np.ndarray:
    """Each document's mean by plain loops, over the vectors as a part has them."""
    stored = codec.decode(codec.encode(vectors_for(block)))
    rows = []
    for doc in sorted(set(block.chunks.doc.tolist())):
        own = [i for i, d in enumerate(block.chunks.doc) if d == doc]
        total = sum(stored[i].astype(np.float64) * int(block.chunks.n_tokens[i]) for i in own)
        rows.append(total / np.linalg.norm(total))
    return np.array(rows, np.float32)


@pytest.mark.parametrize("chunks_at_once", [1, 3, 5, 8192])
@pytest.mark.parametrize("kind", ["float32", "float16", "int8", "ubinary"])
def test_means(layout: Layout, kind: str, chunks_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document has one row in order, its vector the mean of its chunks weighted by their tokens, of their type."""
    monkeypatch.setattr(documents, "_CHUNKS", chunks_at_once)
    block = uneven()
    form = replace(WITH, vector_type=kind, ranges=RANGES if kind == "int8" else None)
    write(layout, block, form=form)
    table = pq.read_table(at(layout.documents / the_part(layout).name), partitioning=None)
    assert table["doc_id"].to_pylist() == [f"d{i}" for i in range(6)]
    assert table["n_chunks"].to_pylist() == [2] * 6
    assert table["n_tokens"].to_pylist() == [5, 9, 13, 17, 21, 25]
    codec = codec_of(table.schema)
    assert table.schema.field("embedding") == form.schema.field("embedding")
    found, expected = vectors_of(table["embedding"]), means(block, codec)
    if kind == "float32":
        np.testing.assert_allclose(found, expected, atol=1e-6)
    else:
        assert (
            np.abs(found.astype(float) - codec.encode(expected).astype(float)) <= (1 if kind == "int8" else 0.001)
        ).all()
    assert check_documents(layout, the_part(layout).name) == 6


@pytest.mark.parametrize("silent", [True, False])
def test_a_part_without_chunks(layout: Layout, *, silent: bool) -> None:
    """A part of no chunks has documents of no rows."""
    shard = shard_of(1)
    bad = (Reject("a.jsonl", 0, "empty", "", None),)
    write(layout, block_of(shard, 0, 1, silent=0) if silent else block_of(shard, 0, 0, rejects=bad), form=WITH)
    assert check_documents(layout, the_part(layout).name) == 0


def test_lost_documents_are_made_again_to_the_same_bytes(layout: Layout) -> None:
    """What is missing is made from the part, to the same bytes; what is there is left alone."""
    write(layout, uneven(), form=WITH)
    file = at(layout.documents / the_part(layout).name)
    content, inode = file.read_bytes(), file.stat().st_ino
    publish_documents(layout, file.name)
    assert file.stat().st_ino == inode
    file.unlink()
    with pytest.raises(OutputError, match="is missing or damaged"):
        check_documents(layout, file.name)
    publish_documents(layout, file.name)
    assert file.read_bytes() == content
    assert left_in(at(layout.tmp)) == []


def test_other_documents_are_found_out(layout: Layout, tmp_path: Path) -> None:
    """Vectors of another part's documents, or altered ones, are refused by name."""
    other = Layout(tmp_path / "other")
    write(layout, uneven(), form=WITH)
    write(other, uneven(), form=WITH, seed=1)
    name = the_part(layout).name
    at(other.documents / name).replace(at(layout.documents / name))
    with pytest.raises(OutputError, match="does not hold the documents of its part"):
        check_documents(layout, name)


def test_documents_go_with_their_part(layout: Layout) -> None:
    """A part that is set aside takes its documents' vectors with it, so that they are made of the next one."""
    write(layout, uneven(), form=WITH)
    set_aside(layout, the_part(layout).name, layout.quarantine)
    assert left_in(at(layout.documents)) == []


def test_killed_between_part_and_documents(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where writing ends after the part was published, the part stands and nothing half-made is seen."""
    put_if_absent = Folder.put_if_absent

    def fail(store: Folder, made: Path, key: Key, **how: bool) -> str:
        if key.path.startswith("documents/"):
            raise OSError(28, os.strerror(28))
        return put_if_absent(store, made, key, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "put_if_absent", fail)
        with pytest.raises(OutputError, match="No space left"):
            write(layout, uneven(), form=WITH)
    assert (len(layout.parts()), left_in(at(layout.documents)), left_in(at(layout.tmp))) == (1, [], [])
    publish_documents(layout, the_part(layout).name)
    assert check_documents(layout, the_part(layout).name) == 6


def test_ranges_of_int8_fit_documents(layout: Layout) -> None:
    """A part's documents tell the ranges of their codes, as the part does."""
    form: PartFormat = replace(WITH, vector_type="int8", ranges=Ranges(-np.ones(DIM, "f4"), np.ones(DIM, "f4")))
    write(layout, uneven(), form=form)
    ranges = codec_of(pq.read_schema(at(layout.documents / the_part(layout).name))).ranges
    assert ranges is not None
    assert form.ranges is not None
    assert ranges.same(form.ranges)
