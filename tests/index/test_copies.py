"""Equal vectors: in an index once, found with all their rows, by every type and every vector type."""

from __future__ import annotations

import json
import logging
from functools import partial
from itertools import islice, product
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pytest

from embed_corpus.errors import OutputError
from embed_corpus.index import build as build_module
from embed_corpus.index import quality
from embed_corpus.index.advise import advise
from embed_corpus.index.build import build_index
from embed_corpus.index.choose import Request
from embed_corpus.index.copies import copies_of
from embed_corpus.index.distinct import is_first, numbers_of
from embed_corpus.index.evaluate import evaluate
from embed_corpus.index.rows import open_vectors
from embed_corpus.index.search import open_index, search
from embed_corpus.sink.snapshot import publish_snapshot
from embed_corpus.store.layout import Layout
from kit.places import at
from kit.vector_parts import clustered, write_out, write_part

DIM = 32
NAMED = ["flat", "hnsw", "ivf", "ivfpq", "IVF4,Flat", "SQ8", "PCAR16,IVF4,SQ8", "PQ4x4fs"]
STORED = ["float32", "float16", "int8", "ubinary"]


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries/s are of no interest here."""
    monkeypatch.setattr(quality, "queries_per_second", partial(quality.queries_per_second, seconds=0.01))


def repeated(n: int, n_texts: int, seed: int = 0) -> np.ndarray:
    """Half of the rows are one vector, the others some of `n_texts`, many of them more than once."""
    dice = np.random.default_rng(seed)
    texts = clustered(n_texts, DIM, seed)
    return texts[np.where(dice.random(n) < 0.5, 0, dice.integers(0, n_texts, n))]


def build(layout: Layout, snapshot: object, kind: str, **asked: object) -> dict:
    request = Request(kind, **({"target_recall": 0.5} | asked))
    made = build_index(layout, snapshot, request, similarity="cosine", normalized=True)
    assert made is not None
    return made.to_json()


def ready(layout: Layout, snapshot: object) -> np.ndarray:
    """The vectors of all rows as an index takes them."""
    vectors = open_vectors(layout, snapshot.parts, "cosine", normalized=True)
    return np.concatenate([block for _, block in vectors.blocks()])


def compared(queries: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """All scores, by nothing but NumPy."""
    if vectors.dtype == np.uint8:
        return -np.unpackbits(queries[:, None] ^ vectors[None], axis=2).sum(axis=2, dtype=np.int64)
    return queries.astype(np.float64) @ vectors.T.astype(np.float64)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "stored"), [*product(NAMED, STORED[:3]), *product(NAMED[:3], STORED[3:])])
def test_all_rows_are_found(tmp_path: Path, kind: str, stored: str) -> None:
    """A search for as many as there are finds each row once; with the best vector come all its rows, in their order."""
    rows = repeated(600, 90, seed=len(kind))
    layout, snapshot = write_out(tmp_path / "out", rows, 2, stored)
    made = build(layout, snapshot, kind)
    vectors = ready(layout, snapshot)
    distinct = len(np.unique(vectors, axis=0))
    assert (made["rows"], made["vectors"]) == (600, distinct)
    opened = open_index(layout)
    assert opened.index.ntotal == distinct < 600
    _, found = opened.search(rows[:20], 700)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(np.arange(600), (20, 1)))
    if kind in {"flat", "hnsw", "IVF4,Flat"}:
        scores = compared(opened.prepared(rows[:20]), vectors).round(5)
        order = np.lexsort((np.tile(np.arange(600), (20, 1)), -scores), axis=-1)
        np.testing.assert_array_equal(opened.search(rows[:20], 7)[1], order[:, :7])


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("stored", ["float32", "ubinary"])
@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_filters_and_documents(tmp_path: Path, kind: str, stored: str) -> None:
    """A vector counts among some rows if any of its rows does, and only those come; each document comes once."""
    rows = repeated(600, 90)
    layout, snapshot = write_out(tmp_path / "out", rows, 2, stored)
    build(layout, snapshot, kind)
    among = np.flatnonzero(np.arange(600) % 300 % 100 < 10)
    opened = open_index(layout, ["year < 1910"])
    _, found = opened.search(rows[:10], 100)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.tile(among, (10, 1)))
    scores = compared(opened.prepared(rows[:10]), ready(layout, snapshot)[among]).round(5)
    best = among[np.lexsort((np.tile(among, (10, 1)), -scores), axis=-1)]
    np.testing.assert_array_equal(opened.search(rows[:10], 5)[1], best[:, :5])
    for hits in search(open_index(layout), rows[:3], 300, by_document=True):
        assert len({hit.doc_id for hit in hits}) == len(hits) == 300
    judged = evaluate(open_index(layout), ["a"], lambda _: rows[:1], {"a": {"p00-0": 1, "p01-7": 1}})
    assert judged.exact == judged.through_index or kind != "flat"


def test_half_a_corpus_of_one_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A graph finds every other vector by itself, is as good as it says, and nothing warns."""
    rows = np.concatenate([clustered(1500, DIM), np.repeat(clustered(1, DIM, 7), 1500, axis=0)])
    rows = rows[np.random.default_rng(0).permutation(3000)]
    layout, snapshot = write_out(tmp_path / "out", rows, 2)
    made = build(layout, snapshot, "hnsw", target_recall=0.95)
    assert made["vectors"] == 1501
    assert made["recall"]["10"] >= 0.95
    scores, found = open_index(layout).search(rows, 1)
    assert (scores[:, 0] > 0.9999).mean() > 0.99
    np.testing.assert_array_equal(rows[found[:, 0]], rows)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["flat", "hnsw", "IVF8,SQ8"])
def test_later_rows_join_earlier_vectors(tmp_path: Path, kind: str) -> None:
    """Rows of a later snapshot that an earlier vector has join it, new vectors come behind, all as if built at once."""
    rows = repeated(1500, 400)
    layout, snapshot = write_out(tmp_path / "out", rows[:1000], 2)
    first = build(layout, snapshot, kind)
    before = open_index(layout)
    held = before.index.ntotal
    grown = publish_snapshot(layout, [write_part(layout, "a", rows[1000:]), *snapshot.parts])
    second = build(layout, grown, kind)
    assert (second["rows"], second["trained_for"], first["vectors"]) == (1500, held, held)
    after = open_index(layout)
    whole = copies_of(numbers_of([rows], len(rows)))
    np.testing.assert_array_equal(after.copies.starts, whole.starts)
    np.testing.assert_array_equal(after.copies.rows, whole.rows)
    np.testing.assert_array_equal(after.copies.only(np.arange(1500) < 1000).starts[: held + 1], before.copies.starts)
    _, found = after.search(rows[1200:1210], 1500)
    assert {len(np.unique(f)) for f in found} == {1500}


def test_an_index_without_equal_vectors_that_meets_some(tmp_path: Path) -> None:
    """Rows that join the vectors of an index which had none equal extend it, and a file says which is whose."""
    rows = clustered(400, DIM)
    layout, snapshot = write_out(tmp_path / "out", rows, 2)
    assert "vectors" not in build(layout, snapshot, "flat")
    assert sorted(file.name for file in at(layout.index).iterdir()) == ["ids.arrow", "index.faiss", "index.json"]
    grown = publish_snapshot(layout, [*snapshot.parts, write_part(layout, "x", rows[100:150])])
    made = build(layout, grown, "flat")
    assert (made["vectors"], made["trained_for"], made["rows"]) == (400, 400, 450)
    assert [hit.doc_id for hit in search(open_index(layout), rows[100:101], 2)[0]] == ["p00-50", "x-0"]
    shrunk = publish_snapshot(layout, snapshot.parts)
    build(layout, shrunk, "flat")
    assert sorted(file.name for file in at(layout.index).iterdir()) == ["ids.arrow", "index.faiss", "index.json"]


def test_an_older_index_that_holds_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that was built when equal vectors were not looked for is searched, and made anew when it grows."""
    rows = repeated(600, 90)
    layout, snapshot = write_out(tmp_path / "out", rows[:500], 2)
    with monkeypatch.context() as patched:
        patched.setattr(build_module, "numbers_of_rows", lambda *_: None)
        assert "vectors" not in build(layout, snapshot, "IVF4,SQ8")
    assert open_index(layout).search(rows[:1], 500)[1].max() == 499
    made = build(layout, publish_snapshot(layout, [*snapshot.parts, write_part(layout, "x", rows[500:])]), "IVF4,SQ8")
    assert (made["rows"], made["vectors"] < 100, made["trained_for"]) == (600, True, made["vectors"])


def test_plain_libraries_read_which_is_whose(tmp_path: Path) -> None:
    """Row v of rows.arrow lists the rows of ids.arrow that vector v of plain FAISS stands for."""
    rows = repeated(300, 60)
    layout, snapshot = write_out(tmp_path / "out", rows, 1)
    build(layout, snapshot, "flat")
    index = faiss.read_index(str(at(layout.index / "index.faiss")))
    lists, ids = (
        pa.ipc.open_file(pa.memory_map(str(at(layout.index / name)))).read_all() for name in ("rows.arrow", "ids.arrow")
    )
    assert (index.ntotal, len(ids)) == (len(lists), 300)
    for v, mine in enumerate(lists["rows"].to_pylist()):
        np.testing.assert_array_equal(rows[mine], np.tile(index.reconstruct(v), (len(mine), 1)))
    assert sorted(row for mine in lists["rows"].to_pylist() for row in mine) == list(range(300))


def test_a_stopped_build_goes_on_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found out about equal vectors before a stop is not read again, and the files are the same."""
    rows = repeated(1500, 500)
    layout, snapshot = write_out(tmp_path / "out", rows, 2)
    whole = build(layout, snapshot, "IVF8,SQ8")["files"]
    for file in at(layout.index).iterdir():
        file.unlink()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(build_module, "into_memory", stop)
        with pytest.raises(KeyboardInterrupt):
            build(layout, snapshot, "IVF8,SQ8")
    monkeypatch.setattr("embed_corpus.index.distinct.numbers_of", stop)
    assert build(layout, snapshot, "IVF8,SQ8")["files"] == whole
    assert not list(at(layout.indexing).iterdir())


def test_too_many_to_look_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the memory does not hold what is needed to find equal vectors, that is told, and each has its own."""
    rows = repeated(300, 60)
    layout, snapshot = write_out(tmp_path / "out", rows, 1)
    monkeypatch.setattr("embed_corpus.index.distinct._MERGE_BYTES", 1 << 30)
    assert "vectors" not in build(layout, snapshot, "flat")
    assert "equal vectors are not looked for among 300: that takes 300.2 GiB of --max-memory" in caplog.text


@pytest.mark.parametrize("seed", range(20))
def test_numbers(seed: int) -> None:
    """Rows have the same number exactly if they have the same bytes; numbers come in the order of first rows."""
    dice = np.random.default_rng(seed)
    dtype = dice.choice([np.float32, np.float16, np.int8, np.uint8])
    rows = dice.integers(0, 3, (int(dice.integers(1, 200)), int(dice.integers(1, 5)))).astype(dtype)
    numbers = numbers_of([rows[:1], rows[1:9], rows[9:]], len(rows))
    seen: dict[bytes, int] = {}
    assert numbers.tolist() == [seen.setdefault(row.tobytes(), len(seen)) for row in rows]
    first, copies = is_first(numbers), copies_of(numbers)
    np.testing.assert_array_equal(first, copies.first)
    np.testing.assert_array_equal(numbers_of([rows[first]], len(seen)), np.arange(len(seen)))
    k = int(dice.integers(1, 30))
    vectors = np.argsort(dice.random((4, len(seen))), axis=1)
    scores = -np.sort(dice.integers(0, 4, vectors.shape), axis=1).astype(np.float32)
    best = copies.expanded(scores, vectors, k)
    for q in range(4):
        all_rows = [(-s, r) for s, v in zip(scores[q], vectors[q], strict=True) for r in np.flatnonzero(numbers == v)]
        wanted = sorted(all_rows)[:k]
        assert best[1][q, : len(wanted)].tolist() == [row for _, row in wanted]
        assert (best[1][q, len(wanted) :] == -1).all()


def test_advice_holds_them_once(tmp_path: Path) -> None:
    """A graph that is tried on a sample, half of which is one text, finds what it would find in an index."""
    rows = np.concatenate([clustered(1200, DIM), np.repeat(clustered(1, DIM, 7), 1200, axis=0)])
    layout, snapshot = write_out(tmp_path / "out", rows[np.random.default_rng(0).permutation(2400)], 1)
    vectors = open_vectors(layout, snapshot.parts, "cosine", normalized=True)
    flat, graph = islice(advise(vectors, 2000, 0.95), 2)
    assert (flat.index, flat.recall, graph.index) == ("Flat", 1, "HNSW32")
    assert graph.recall > 0.9
    assert graph.index_bytes < 0.6 * 2400 * (DIM * 4 + 264)


def test_index_json_tells_files(tmp_path: Path) -> None:
    """rows.arrow is one of the files that index.json vouches for: a flipped bit is refused."""
    layout, snapshot = write_out(tmp_path / "out", repeated(300, 60), 1)
    build(layout, snapshot, "flat")
    assert "rows.arrow" in json.loads(at(layout.index / "index.json").read_text())["files"]
    file = at(layout.index / "rows.arrow")
    content = bytearray(file.read_bytes())
    content[-500] ^= 1
    file.write_bytes(content)
    with pytest.raises(OutputError, match=r"rows.arrow is missing or damaged"):
        open_index(layout)
