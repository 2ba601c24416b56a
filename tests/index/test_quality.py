"""What is measured of an index: others than the question, ties forgiven, the least effort that does."""

from __future__ import annotations

from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from embed_corpus.index.check import empty_index
from embed_corpus.index.effort import Effort, deep_enough, effort_of, full_search, tune
from embed_corpus.index.graph import taken_out
from embed_corpus.index.quality import measure, recall_at, searched_others, truth_of
from embed_corpus.index.rows import Vectors
from embed_corpus.index.sample import draw
from embed_corpus.vectors.codec import Codec
from kit.vector_parts import clustered, write_out


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(2000, 16)


def blocks(vectors: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(first, vectors[first : first + 300]) for first in range(0, len(vectors), 300)]


def test_a_question_is_not_its_own_answer(vectors: np.ndarray) -> None:
    """The nearest are those of brute force among all others; a search that finds only the question has recall 0."""
    own = np.arange(0, 2000, 100)
    truth = truth_of(blocks(vectors), vectors[own], own)
    similar = vectors[own] @ vectors.T
    similar[np.arange(len(own)), own] = -2
    np.testing.assert_array_equal(truth.rows[:, :10], np.argsort(-similar, axis=1, kind="stable")[:, :10])
    assert recall_at(truth, truth.rows[:, :10], 10) == 1
    assert recall_at(truth, np.repeat(own[:, None], 10, axis=1), 10) == 0
    half = np.where(np.arange(10) < 5, truth.rows[:, :10], -1)
    assert recall_at(truth, half, 10) == 0.5


def test_places_that_nothing_fills_are_no_hits(vectors: np.ndarray) -> None:
    """An index that finds five of a hundred has recall 0.05, however many places are left empty."""
    own = np.arange(0, 2000, 100)
    truth = truth_of(blocks(vectors), vectors[own], own)
    found = np.where(np.arange(100) < 5, truth.rows[:, :100], -1)
    assert recall_at(truth, found, 100) == pytest.approx(0.05)


def test_what_is_measured_is_what_is_searched(vectors: np.ndarray) -> None:
    """Where lists hold less than is asked for, measuring visits more of them, as a search does."""
    index = empty_index("IVF200,Flat", 16, binary=False)
    index.train(vectors)
    index.add(vectors)
    index.nprobe = 1
    own = np.arange(0, 2000, 100)
    truth = truth_of(blocks(vectors), vectors[own], own)
    assert (searched_others(index, truth, 100) >= 0).all()
    assert index.nprobe == 1


def test_equal_ones_will_do(vectors: np.ndarray) -> None:
    """Of texts that stand in the corpus many times, any copies will do."""
    copies = np.concatenate([vectors[:100], np.repeat(vectors[:1], 60, axis=0)])
    own = np.array([0])
    truth = truth_of(blocks(copies), copies[own], own)
    assert recall_at(truth, np.arange(159, 149, -1)[None], 10) == 1


def test_ties_beyond_what_is_stored(vectors: np.ndarray) -> None:
    """Of a thousand that are equally near any will do, though but some are listed; one that is farther will not."""
    rows = np.concatenate([np.repeat(vectors[:1], 1000, axis=0), vectors])
    own = np.array([1000])
    truth = truth_of(blocks(rows), rows[own], own, lambda which: rows[which])
    assert recall_at(truth, np.arange(999, 989, -1)[None], 10) == 1
    assert recall_at(truth, np.array([[999, 998, 997, 5, 6, 1500, 1501, 1502, 1503, -1]]), 10) == 0.5


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("bits", [False, True])
def test_recall_is_that_of_scores(seed: int, bits: bool) -> None:
    """With heavy ties, recall is the share of results whose score is no worse than the k-th best, by NumPy alone."""
    dice = np.random.default_rng(seed)
    if bits:
        rows = dice.integers(0, 256, (1500, 1)).astype(np.uint8)
        scores = -np.unpackbits(rows[:, None] ^ rows[None], axis=2).sum(axis=2, dtype=np.int64).astype(float)
    else:
        rows = clustered(1500, 16, seed)[dice.integers(0, 12, 1500)]
        scores = rows.astype(float) @ rows.T.astype(float)
    own = dice.choice(1500, 40, replace=False)
    np.fill_diagonal(scores, -np.inf)
    found = np.where(dice.random((40, 100)) < 0.9, dice.integers(0, 1500, (40, 100)), -1)
    found[:20, :60] = np.argsort(-scores[own[:20]] + dice.random((20, 1500)) * 1e-9, axis=1)[:, :60]
    found[found == own[:, None]] = -1
    truth = truth_of(blocks(rows), rows[own], own, lambda which: rows[which])
    for k in (1, 10, 100):
        worst = -np.sort(-scores[own], axis=1)[:, k - 1 : k]
        right = (np.take_along_axis(scores[own], found, axis=1) >= worst - 1e-6) & (found >= 0)
        assert recall_at(truth, found, k) == pytest.approx(right[:, :k].sum(axis=1).mean() / k), k


@pytest.mark.heavy
def test_a_hundred_results_are_as_good_as_ten() -> None:
    """A graph that is tuned for 10 results looks further for 100, and as far as before for the next 10."""
    vectors = clustered(8000, 32)
    own = np.arange(0, 8000, 40)
    truth = truth_of(blocks(vectors), vectors[own], own)
    index = faiss.index_factory(32, "HNSW16", faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    found = measure(index, truth, 0.9)
    assert found["effort"]["efSearch"] < 50
    assert found["recall"]["100"] > 0.93
    assert index.hnsw.efSearch == found["effort"]["efSearch"]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["HNSW8", "PCA24,HNSW8", "BHNSW8"])
def test_questions_of_a_graph_are_no_nodes_of_it(kind: str) -> None:
    """They are found by nobody while it is measured, recall is that of a graph without them, and all is put back."""
    vectors = clustered(4000, 32)
    if kind[0] == "B":
        vectors = np.packbits(vectors > 0, axis=1)
        index = faiss.index_binary_factory(32, kind)
    else:
        index = faiss.index_factory(32, kind, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
    index.add(vectors)
    own = np.arange(0, 4000, 20)
    before = index.search(vectors, 5)[1]
    assert np.isin(before[own], own).any()
    with taken_out(index, own) as out:
        assert out
        assert not np.isin(index.search(vectors, 5)[1], own).mean() > 0.001  # but for where each search begins
    np.testing.assert_array_equal(index.search(vectors, 5)[1], before)
    if kind == "HNSW8":
        truth = truth_of(blocks(vectors), vectors[own], own).apart()
        assert not np.isin(truth.rows[:, :100], [*own, -1]).any()
        others = np.setdiff1d(np.arange(4000), own)
        without = faiss.index_factory(32, kind, faiss.METRIC_INNER_PRODUCT)
        without.add(vectors[others])
        fresh = others[without.search(vectors[own], 10)[1]]
        with taken_out(index, own):
            told = recall_at(truth, index.search(vectors[own], 10)[1], 10)
        assert abs(told - recall_at(truth, fresh, 10)) < 0.05


def test_an_index_without_a_graph_stays_as_it_is(vectors: np.ndarray) -> None:
    """There is nothing to take out of lists, or of the vectors alone."""
    index = faiss.index_factory(16, "Flat", faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    with taken_out(index, np.array([3])) as out:
        assert not out
        assert index.search(vectors[3:4], 1)[1] == 3


def test_recall_at_ten_is_that_of_a_search_for_ten() -> None:
    """What is looked for further, for a hundred results, does not count for ten."""
    vectors = clustered(8000, 32)
    own = np.arange(0, 8000, 40)
    index = faiss.index_factory(32, "IVF256,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    truth = truth_of(blocks(vectors), vectors[own], own)
    told = measure(index, truth, 0.6)["recall"]["10"]
    half = truth.half(1)
    assert told == round(recall_at(half, searched_others(index, half, 10), 10), 4)
    assert told < recall_at(half, searched_others(index, half, 100), 10)


def test_it_is_tuned_to_the_target(vectors: np.ndarray) -> None:
    """More recall asked for costs more lists, and is there among questions that it was not tuned on."""
    own = np.arange(0, 2000, 5)
    truth = truth_of(blocks(vectors), vectors[own], own)
    index = faiss.index_factory(16, "IVF64,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    low, high = measure(index, truth, 0.5), measure(index, truth, 0.99)
    assert low["effort"]["nprobe"] < high["effort"]["nprobe"] < 64
    assert high["recall"]["10"] >= 0.98
    assert effort_of(index).value == high["effort"]["nprobe"]
    assert searched_others(index, truth, 10).shape == (400, 10)


@pytest.mark.parametrize("needed", [1, 2, 5, 17, 63, 64])
def test_the_least_effort_that_does(needed: int) -> None:
    """Tuning ends at a number that reaches the target, within a sixteenth of the least."""
    owner = type("Index", (), {"nprobe": 1})()
    tune(Effort(owner, "nprobe", 64), lambda: float(owner.nprobe >= needed), 0.9)
    assert needed <= owner.nprobe <= needed * 17 / 16 + 1


def test_the_last_percent_is_not_worth_every_list() -> None:
    """Where the codes lose more than the target allows, the effort is that of nearly the most there is."""
    owner = type("Index", (), {"nprobe": 1})()
    tune(Effort(owner, "nprobe", 1024), lambda: 0.6 - 0.1 / owner.nprobe, 0.95)
    assert owner.nprobe == 17


def test_held_out_are_never_trained_on(tmp_path, vectors: np.ndarray) -> None:
    """Both samples come from all parts, share no row, and are the same each time."""
    layout, snapshot = write_out(tmp_path / "out", vectors, 4)
    of = Vectors(layout, snapshot.parts, Codec("float32", 16), scaled=False)
    drawn, again = draw(of, 500), draw(of, 500)
    assert (len(drawn.train), len(drawn.held_out)) == (500, 200)
    assert not np.intersect1d(drawn.train, drawn.held_out).size
    assert set(drawn.train // 500) == set(drawn.held_out // 500) == {0, 1, 2, 3}
    np.testing.assert_array_equal(drawn.train, again.train)
    np.testing.assert_array_equal(of.take(drawn.train), vectors[drawn.train])


@pytest.mark.heavy
@pytest.mark.parametrize("factory", ["IVF64,SQ8", "IVF64,PQ8x4", "PCA16,IVF64,Flat", "BIVF64"])
def test_many_results(factory: str) -> None:
    """Lists tuned for few results are visited until the many that are asked for are found; then as before."""
    vectors = clustered(6000, 32)
    index = empty_index(factory, 32, binary=factory[0] == "B")
    ready = Codec("ubinary", 32).encode(vectors) if factory[0] == "B" else vectors
    index.train(ready)
    index.add(ready)
    for k in (10, 200, 3000, 6000):
        with deep_enough(index, k):
            _, rows = full_search(index, ready[:5], k)
        assert (np.diff(np.sort(rows), axis=1) > 0).all()
        assert rows.min() >= 0
        assert effort_of(index).value == 1


@pytest.mark.heavy
@pytest.mark.parametrize("factory", ["HNSW16", "HNSW16_SQ8", "IVF64,Flat"])
def test_rows_far_from_the_question(factory: str) -> None:
    """Of rows that pass a filter all k are found, also where a search without it would never come to them."""
    vectors = clustered(6000, 32)
    index = empty_index(factory, 32, binary=False)
    index.train(vectors)
    index.add(vectors)
    far = np.argsort(vectors @ vectors[0])[:300]
    among = np.zeros(6000, np.bool_)
    among[far] = True
    with deep_enough(index, 10):
        _, rows = full_search(index, vectors[:1], 10, among)
    assert len(np.intersect1d(rows[0], far[-10:])) >= 8


def test_a_target_without_its_margin_is_still_reached() -> None:
    """Where the greatest effort reaches the target, but not the margin above it, the target is what counts."""
    owner = SimpleNamespace(nprobe=1)
    effort = Effort(owner, "nprobe", 64)

    def recall() -> float:
        return 0.984 * (1 - 0.5**owner.nprobe)

    tune(effort, recall, 0.98, 0.005)
    assert recall() >= 0.98
    assert owner.nprobe < 16
    tune(effort, recall, 0.99, 0.005)
    assert 0.97 < recall() < 0.98
