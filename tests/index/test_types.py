"""Every type that FAISS knows: each works for all that is asked of an index, or ends in one sentence."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from embed_corpus.errors import DataError, UsageError
from embed_corpus.index import quality
from embed_corpus.index.build import build_index
from embed_corpus.index.choose import Request
from embed_corpus.index.evaluate import evaluate
from embed_corpus.index.search import open_index, search
from embed_corpus.sink.layout import Layout
from vector_parts import clustered, write_out

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


def build(layout: Layout, kind: str, vectors: np.ndarray, stored: str = "float32", n_parts: int = 2) -> dict | None:
    _, snapshot = write_out(layout.root, vectors, n_parts, stored)
    return build_index(layout, snapshot, Request(kind, target_recall=0.5), similarity="cosine", normalized=True)


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
