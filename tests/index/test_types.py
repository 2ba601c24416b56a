"""Every type that FAISS knows: each works for all that is asked of an index, or ends in one sentence."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import pytest

from embed_corpus.errors import DataError, UsageError
from embed_corpus.index import build_time as seconds
from embed_corpus.index import effort, quality
from embed_corpus.index.build import build_index
from embed_corpus.index.choose import Request, choose
from embed_corpus.index.evaluate import evaluate
from embed_corpus.index.schema import IndexRecord
from embed_corpus.index.search import open_index, search
from embed_corpus.store.layout import Layout
from kit.places import at
from kit.vector_parts import clustered, write_out

DIM = 32
LISTS = ["IVF4,PQ4x4fs", "IVF4_HNSW8,Flat", "PCAR8,IVF4,SQ8", "PCAR8,IVF4,PQ4x4,RFlat", "IVF4,ITQ8,SH"]
FLOATS = ["SQ8", "PQ4x4fs", "PQ4x4", "PCAR8,Flat", "SQ8,RFlat", *LISTS]
BITS = ["BFlat", "BHNSW8", "BIVF4", "BHash8"]
NO_FILTER = {"PQ4x4fs", "PQ4x4", "IVF4,ITQ8,SH"}
NAMED = ["auto", "flat", "hnsw", "ivf", "ivfpq"]


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries/s are of no interest here."""
    monkeypatch.setattr(quality, "queries_per_second", partial(quality.queries_per_second, seconds=0.01))


def build(
    layout: Layout, kind: str, vectors: np.ndarray, stored: str = "float32", n_parts: int = 2
) -> IndexRecord | None:
    _, snapshot = write_out(layout.root, vectors, n_parts, stored)
    return build_index(layout, snapshot, Request(kind, target_recall=0.5), similarity="cosine", normalized=True)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FLOATS + BITS)
def test_it_does_all(tmp_path: Path, kind: str) -> None:
    """Search, filters, documents and judgements work; where FAISS cannot filter, what passes is searched exactly."""
    layout, vectors = Layout(tmp_path / "out"), clustered(600, DIM)
    build(layout, kind, vectors, "ubinary" if kind in BITS else "float32")
    queries = vectors[:5]
    assert all(hits for hits in search(open_index(layout), queries, 5))
    meets = np.arange(600) % 300 % 100 < 10  # 300 vectors a part
    found = search(open_index(layout, ["year < 1910"]), queries, 4)
    assert [len(hits) for hits in found] == [4] * 5
    assert {hit.char_end % 100 for hits in found for hit in hits} <= set(range(10))
    if kind in NO_FILTER:
        best = np.sort(np.where(meets, queries @ vectors.T, -2), axis=1)[:, :-5:-1]
        np.testing.assert_allclose([[hit.score for hit in hits] for hits in found], best, atol=1e-5)
    assert search(open_index(layout, ["year < 1910"]), queries, 4, by_document=True)[0][0].doc_id == "p00-0"
    judged = evaluate(open_index(layout), ["a"], lambda _: queries[:1], {"a": {"p00-0": 1, "unknown": 2}})
    assert (judged.exact["MRR@10"], judged.n_unknown) == (1, 1)
    with pytest.raises(DataError, match=r"none of the 1 relevant documents, e\.g\. 'unknown', is in .*out"):
        evaluate(open_index(layout), ["a"], lambda _: queries[:1], {"a": {"p00-0": 0, "unknown": 2}})


@pytest.mark.parametrize("kind", ["NSG8", "LSH", "IDMap,Flat", "Flat,IDMap", "ZnLattice2x4_4", "IVF4,PQ4+4", "BFlat"])
def test_it_is_refused(tmp_path: Path, kind: str) -> None:
    """What cannot be built of many blocks, by inner product or for row numbers: one sentence, no place in FAISS."""
    with pytest.raises(UsageError) as refused:
        build(Layout(tmp_path / "out"), kind, clustered(600, DIM))
    assert "faiss/" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("kind", [*NAMED, "SQ8", "PQ4x4fs", "PCAR8,Flat", "BIVF1"])
def test_few_vectors(tmp_path: Path, kind: str, n: int) -> None:
    """An index of a handful finds them, or ends in one sentence that says what to take."""
    layout, vectors = Layout(tmp_path / "out"), clustered(n, DIM)
    try:
        build(layout, kind, vectors, "ubinary" if kind == "BIVF1" else "float32", n_parts=1)
    except UsageError as error:
        assert kind in {"ivfpq", "PQ4x4fs", "PCAR8,Flat"}
        assert str(error).endswith("take --type auto.")  # noqa: PT017
    else:
        assert [len(hits) for hits in search(open_index(layout, ["year < 1990"]), vectors, 9)] == [n] * n
        assert {hits[0].score > 0.99 for hits in search(open_index(layout), vectors, 3, by_document=True)} == {True}


@pytest.mark.parametrize("kind", NAMED)
def test_no_vectors(tmp_path: Path, kind: str) -> None:
    """Of nothing, no index is made."""
    assert build(Layout(tmp_path / "out"), kind, clustered(1, DIM)[:0]) is None


@pytest.mark.parametrize("kind", ["ivfpq", "IVF4,PQ16x8", "PCAR16,IVF4,PQ8"])
def test_product_quantisers_of_few_vectors(tmp_path: Path, kind: str) -> None:
    """A few hundred vectors are trained on in seconds: codes are put in no order that no search here makes use of."""
    layout, begin = Layout(tmp_path / "out"), time.process_time()
    made = build(layout, kind, clustered(300, DIM))
    assert made.type == {"ivfpq": "IVF4,PQ8x8"}.get(kind, kind)
    assert time.process_time() - begin < 10  # in that order: 2 s for each of 8
    assert not effort.inner(faiss.read_index(str(at(layout.index / "index.faiss")))).do_polysemous_training


def test_codes_are_no_more_than_vectors() -> None:
    """Product quantisers have 8 bits a code, fewer where fewer vectors could train them, 4 at least."""
    ends = [choose(rows, 384, Request("ivfpq")).factory.rsplit("x")[-1] for rows in (10, 40, 150, 300, 1_000_000)]
    assert ends == ["4", "5", "7", "8", "8"]


def test_time_of_product_quantisers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training takes time by sub-quantisers and codes, a rotation before it far more, and none to extend."""
    monkeypatch.setattr(seconds, "_speed", lambda _: 1e11)
    monkeypatch.setattr(seconds, "_round_seconds", lambda n, n_codes, _: n * n_codes * 1e-9)

    def told(factory: str, begin: int = 0) -> float:
        return seconds.predicted_seconds(300_000, 384, choose(300_000, 384, Request(factory)), begin)

    fast, slow, turned = told("IVF64,PQ48x4"), told("IVF64,PQ48x8"), told("OPQ48_384,IVF64,PQ48x8")
    assert slow - fast > 48 * 25 * 19_000 * 240e-9
    assert turned - slow > 48 * 200 * 19_000 * 256e-9
    assert slow - told("IVF64,PQ48x8", 1) > 48 * 25 * 19_000 * 256e-9
