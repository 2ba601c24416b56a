"""Indexes built part by part: the same however often they are stopped, extended without renumbering."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import faiss
import numpy as np
import pytest

from embed_corpus.errors import OutputError, UsageError
from embed_corpus.index import build_time as seconds
from embed_corpus.index.build import build_index
from embed_corpus.index.build_time import predicted_seconds
from embed_corpus.index.choose import Request, choose, parse_bytes
from embed_corpus.index.manifest import check_files
from embed_corpus.index.search import open_index, search
from embed_corpus.sink.snapshot import Snapshot, publish_snapshot
from embed_corpus.store.commit import alone_on
from embed_corpus.store.layout import Layout
from embed_corpus.store.local import Folder
from kit.part_blocks import failing
from kit.places import at
from kit.vector_parts import clustered, write_out, write_part

DIM = 384
RUN = 4096  # rows: four runs, without as many vectors as four real ones hold
TYPE = "IVF32,SQ8"
SMALL = 256 << 20  # what lists of 5 MB pass


def build(layout: Layout, snapshot: Snapshot, kind: str = TYPE, **asked: object) -> dict:
    made = build_index(layout, snapshot, Request(kind, **asked), similarity="cosine", normalized=True)
    assert made is not None
    return made.to_json()


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered(14_000, DIM)


@pytest.fixture(autouse=True, scope="module")
def _short_runs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("embed_corpus.index.build.RUN_ROWS", RUN)
        yield


@pytest.fixture(scope="module")
def undisturbed(vectors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """An index of four runs, merged on disk."""
    layout, snapshot = write_out(tmp_path_factory.mktemp("built") / "out", vectors, 3)
    build(layout, snapshot, max_memory=SMALL)
    return layout


BUILD = f"""
import sys
from pathlib import Path
import embed_corpus.index.build
embed_corpus.index.build.RUN_ROWS = {RUN}
from embed_corpus.index.build import build_index
from embed_corpus.index.choose import Request
from embed_corpus.store.layout import Layout
from embed_corpus.store.local import Folder
from embed_corpus.sink.snapshot import latest_snapshot
layout = Layout(Path(sys.argv[1]))
build_index(layout, latest_snapshot(layout), Request({TYPE!r}, {SMALL}), similarity="cosine", normalized=True)
"""


def test_too_few_vectors_for_a_type(tmp_path: Path, vectors: np.ndarray) -> None:
    """A type that needs more vectors to train on than there are is refused in one sentence."""
    layout, snapshot = write_out(tmp_path / "out", vectors[:60], 1)
    with pytest.raises(UsageError, match=r"an index of type IVF256,Flat cannot be built here .*take --type auto"):
        build(layout, snapshot, "IVF256,Flat")


@pytest.mark.process
def test_a_second_builder_waits(tmp_path: Path, vectors: np.ndarray) -> None:
    """Of two that build one index, one waits and finds it made."""
    layout, snapshot = write_out(tmp_path / "out", vectors[:600], 2)
    code = f"import logging\nlogging.basicConfig(level=20)\n{BUILD}"
    with alone_on(at(layout.indexing)):
        second = subprocess.Popen([sys.executable, "-c", code, str(layout.root)], stderr=subprocess.PIPE, text=True)
        while "waiting for another process" not in (line := second.stderr.readline()):
            assert line
        assert second.poll() is None
        assert not at(layout.index).exists()
    with second:
        assert second.wait(60) == 0
    made = at(layout.index / "index.faiss").stat()
    assert build(layout, snapshot)["rows"] == 600
    assert at(layout.index / "index.faiss").stat().st_ino == made.st_ino


@pytest.mark.process
def test_killed_while_training_adding_and_merging(
    undisturbed: Layout, vectors: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed at each stage, the next run goes on, and ends with the same bytes as an undisturbed one."""
    layout, snapshot = write_out(tmp_path / "out", vectors, 3)
    begun: list[Callable[[], bool]] = [
        lambda: any(at(layout.indexing).glob("*")),
        lambda: any(at(layout.indexing).glob("*/run-000000004096")),
        lambda: any(file.stat().st_size for file in at(layout.indexing).glob("*/index.ivfdata.*")),
    ]
    for stage in begun:
        process = subprocess.Popen([sys.executable, "-c", BUILD, str(layout.root)])
        while not stage():
            assert process.poll() is None
            time.sleep(0.0005)
        process.kill()
        assert process.wait() == -9
        assert not at(layout.index / "index.json").exists()
    caplog.set_level("INFO", "embed_corpus")
    made = build(layout, snapshot, max_memory=SMALL)
    assert "training" not in caplog.text
    whole = json.loads(at(undisturbed.index / "index.json").read_text())
    assert made["files"] == whole["files"]
    assert not list(at(layout.indexing).iterdir())


def test_what_was_trained_and_then_damaged_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A trained index that a bad disk has cut short does not stop the build for good; the index is the same."""
    layout, snapshot = write_out(tmp_path / "out", clustered(1500, 16), 2)
    whole = build(layout, snapshot, "IVF8,SQ8")["files"]
    shutil.rmtree(at(layout.index))
    with monkeypatch.context() as patched:
        patched.setattr("embed_corpus.index.build.into_memory", failing(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            build(layout, snapshot, "IVF8,SQ8")
    (trained,) = at(layout.indexing).glob("*/trained.faiss")
    trained.write_bytes(trained.read_bytes()[:300])
    assert build(layout, snapshot, "IVF8,SQ8")["files"] == whole
    assert "trained.faiss is damaged" in caplog.text


def test_another_index_that_comes_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that is replaced between its index.json and its files is no damage: the new one is opened."""
    layout, snapshot = write_out(tmp_path / "out", clustered(600, 16), 2)
    build(layout, snapshot, "flat")
    builds = iter([lambda: build(layout, snapshot, "IVF8,SQ8")])

    def late(*args: object, **more: object) -> None:
        next(builds, lambda: None)()
        check_files(*args, **more)

    monkeypatch.setattr("embed_corpus.index.search.check_files", late)
    assert open_index(layout).manifest.type == "IVF8,SQ8"


@pytest.mark.heavy
def test_it_is_the_index_that_faiss_makes(undisturbed: Layout, vectors: np.ndarray) -> None:
    """Plain faiss opens both files; its own adding of the same vectors finds the same rows with the same scores."""
    index = faiss.read_index(str(at(undisturbed.index / "index.faiss")), faiss.IO_FLAG_ONDISK_SAME_DIR)
    plain = faiss.read_index(str(at(undisturbed.index / "index.faiss")), faiss.IO_FLAG_ONDISK_SAME_DIR)
    lists = faiss.ArrayInvertedLists(index.nlist, index.code_size)
    plain.replace_invlists(lists)
    plain.ntotal = 0
    plain.add(vectors)
    ours, theirs = (i.search(vectors[::200], 10) for i in (index, plain))
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert (ours[1] == theirs[1]).mean() > 0.99  # equal scores may change places


def test_duckdb_reads_the_parts(undisturbed: Layout, vectors: np.ndarray) -> None:
    """SQL over data/*.parquet, with a cosine, finds what the index finds."""
    query = vectors[7_000]
    rows = duckdb.execute(
        f"""select doc_id, array_cosine_similarity(embedding::float[{DIM}], $1::float[{DIM}]) as score
            from '{at(undisturbed.data)}/*.parquet' order by score desc limit 5""",
        [query.tolist()],
    ).fetchall()
    (hits,) = search(open_index(undisturbed), query[None], 5)
    assert rows[0][0] == hits[0].doc_id
    assert rows[0][1] == pytest.approx(1, abs=1e-5)
    assert len({row[0] for row in rows} & {hit.doc_id for hit in hits}) >= 4


def test_datasets_loads_the_parts(undisturbed: Layout, tmp_path: Path) -> None:
    """Hugging Face `datasets`, where it is installed, loads data/ as it is."""
    datasets = pytest.importorskip("datasets")
    files = f"{at(undisturbed.data)}/*.parquet"
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    assert (len(loaded), len(loaded[0]["embedding"])) == (14_000, DIM)


@pytest.mark.heavy
def test_merged_in_memory_it_answers_alike(undisturbed: Layout, vectors: np.ndarray, tmp_path: Path) -> None:
    """With more memory it is one file, with the same ids and answers; held-out recall reaches the target."""
    layout, snapshot = write_out(tmp_path / "out", vectors, 3)
    made = build(layout, snapshot)
    assert set(made["files"]) == {"index.faiss", "ids.arrow"}
    assert made["recall"]["10"] >= 0.95
    queries = vectors[::500]
    assert search(open_index(layout), queries, 5) == search(open_index(undisturbed), queries, 5)
    ids = [hashlib.sha256(at(x.index / "ids.arrow").read_bytes()).digest() for x in (layout, undisturbed)]
    assert ids[0] == ids[1]


def test_killed_while_files_go_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two renames, there is no index; the next run puts the rest in place, even of an extended one."""
    vectors = clustered(1500, 16)
    layout, snapshot = write_out(tmp_path / "out", vectors[:1000], 2)
    build(layout, snapshot, "IVF8,SQ8")
    grown = publish_snapshot(layout, [write_part(layout, "a", vectors[1000:]), *snapshot.parts])
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "put", failing(KeyboardInterrupt(), 2, Folder.put))
        with pytest.raises(KeyboardInterrupt):
            build(layout, grown, "IVF8,SQ8")
    assert not at(layout.index / "index.json").exists()
    assert build(layout, grown, "IVF8,SQ8")["trained_for"] == 1000
    assert open_index(layout).index.ntotal == 1500


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["IVF8,SQ8", "HNSW8", "flat"])
def test_new_parts_extend_the_index(tmp_path: Path, kind: str) -> None:
    """Parts that a later snapshot adds, even before the others, get the next row numbers; older rows keep theirs."""
    vectors = clustered(1500, 16)
    layout, snapshot = write_out(tmp_path / "out", vectors[:1000], 2)
    first = build(layout, snapshot, kind)
    before = open_index(layout).ids
    grown = publish_snapshot(layout, [write_part(layout, "a", vectors[1000:]), *snapshot.parts])
    with pytest.raises(UsageError, match="the parts have changed since"):
        search(open_index(layout), vectors[:1], 1)
    second = build(layout, grown, kind)
    assert (second["rows"], second["trained_for"]) == (1500, 1000)
    assert [part["name"] for part in second["parts"]] == ["p00.parquet", "p01.parquet", "a.parquet"]
    assert open_index(layout).ids[:1000].select(["doc_id", "row"]) == before.select(["doc_id", "row"])
    found = search(open_index(layout), vectors[1100:1104], 1)
    assert [hits[0].doc_id for hits in found] == ["a-50", "a-50", "a-51", "a-51"]
    assert first["recall"]["10"] - second["recall"]["10"] < 0.05
    shrunk = publish_snapshot(layout, grown.parts[:2])
    assert build(layout, shrunk, kind)["trained_for"] == shrunk.counts.chunks


@pytest.mark.heavy
def test_an_index_that_is_extended_counts(tmp_path: Path, vectors: np.ndarray) -> None:
    """Old and new lists that pass the memory only together are merged on disk, and answer like one that is not."""
    layout, snapshot = write_out(tmp_path / "out", vectors[:7000], 2)
    assert set(build(layout, snapshot, max_memory=SMALL)["files"]) == {"index.faiss", "ids.arrow"}
    grown = publish_snapshot(layout, [*snapshot.parts, write_part(layout, "x", vectors[7000:11_000])])
    alone = choose(11_000, DIM, Request(TYPE, max_memory=SMALL))
    assert not alone.on_disk
    made = build(layout, grown, max_memory=SMALL)
    assert (set(made["files"]) - {"index.faiss", "ids.arrow"}, made["trained_for"]) == ({"index.ivfdata"}, 7000)
    index = open_index(layout).index
    assert faiss.downcast_InvertedLists(index.invlists).compute_ntotal() == index.ntotal == 11_000
    assert [hits[0].doc_id for hits in search(open_index(layout), vectors[10_000:10_100:50], 1)] == ["x-1500", "x-1525"]


@pytest.mark.heavy
def test_a_disk_without_room(tmp_path: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs and lists take is told before anything is trained; with a little more room it is built."""
    layout, snapshot = write_out(tmp_path / "out", vectors, 2)
    runs, lists = 14_000 * (DIM + 12), 14_000 * (DIM + 8) + 32 * DIM * 4
    need = runs + lists + 14_000 * 64
    with monkeypatch.context() as patched:
        patched.setattr("shutil.disk_usage", lambda _: (1 << 40, 0, need - 100_000))
        with pytest.raises(OutputError, match=r"indexing.* has 11 MiB free, building IVF32,SQ8 there needs about 11"):
            build(layout, snapshot, max_memory=SMALL)
        assert not list(at(layout.indexing).glob("*/*"))
        patched.setattr("shutil.disk_usage", lambda _: (1 << 40, 0, need + 100_000))
        made = build(layout, snapshot, max_memory=SMALL)
    assert sum(file["bytes"] for file in made["files"].values()) < need - runs


@pytest.mark.parametrize("kind", ["int8", "ubinary"])
def test_other_vector_types(tmp_path: Path, kind: str) -> None:
    """Quantised vectors have lists, too: of scaled floats, or of bits, in FAISS' IndexBinary."""
    vectors = clustered(1500, 16)
    layout, snapshot = write_out(tmp_path / "out", vectors, 2, kind)
    made = build(layout, snapshot, "ivf")
    assert made["type"].startswith("BIVF" if kind == "ubinary" else "IVF")
    assert made["recall"]["10"] >= 0.9
    (hits,) = search(open_index(layout), vectors[70:71], 3)
    assert hits[0].score > 0.9


def test_a_whole_list_of_types_is_chosen_from() -> None:
    """By the guidelines: exact, then a graph, then lists; on disk where they pass the memory; codes by the recall."""
    small, large = Request(), Request(max_memory=1 << 30, target_recall=0.95)
    assert choose(5_000, 384, small).factory == "Flat"
    assert choose(100_000, 384, small).factory == "HNSW32"
    assert choose(1_000_000, 384, small).factory == choose(1_000_000, 384, large).factory == "IVF4096,SQ8"
    assert choose(1_000_000, 384, Request(target_recall=0.99)).factory == "IVF4096,Flat"
    hundred = choose(100_000_000, 384, Request(max_memory=14 << 30))
    assert (hundred.on_disk, hundred.peak < 14 << 30) == (True, True)
    assert choose(10_000_000, 1024, Request(max_memory=1 << 30, target_recall=0.6)).factory.endswith(",PQ256x8")
    assert choose(1_000_000, 384, small, binary=True).factory == "BHNSW32"
    assert choose(700_000, 256, Request("IVF256,Flat"), held=413 << 20).peak >> 20 in range(1900, 2100)  # 2,044 seen
    halves = [choose(1_000_000, 384, Request(f"PCAR192,IVF64,{code}")).n_bytes for code in ("SQ8", "SQ4")]
    assert halves == [1_000_000 * (192 + 8) + 64 * 192 * 4, 1_000_000 * (96 + 8) + 64 * 192 * 4]


def test_time_is_told_for_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extending trains nothing and adds the new rows alone; a graph is walked, by all threads, instead of products."""
    monkeypatch.setattr(seconds, "_speed", lambda _: 1e11)
    lists, graph = choose(1_000_000, 384, Request()), choose(1_000_000, 384, Request("hnsw"))
    training, adding = (2 * 384 * n * 4096 / 1e11 for n in (10 * lists.n_train, 900_000))
    whole, rest = predicted_seconds(1_000_000, 384, lists), predicted_seconds(1_000_000, 384, lists, 900_000)
    assert whole - rest == pytest.approx(training + adding + 900_000 * 2 * 384 * 4 / 300e6)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 1)
    alone = predicted_seconds(1_000_000, 384, graph)
    monkeypatch.setattr(faiss, "omp_get_max_threads", lambda: 2)
    assert alone - predicted_seconds(1_000_000, 384, graph) == pytest.approx((45e-6 + 0.2e-6 * 384) * 1_000_000 / 2)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"type": "flat", "max_memory": 1 << 30}, "--type Flat --max-memory 4GB` if there is as much, else --type ivf"),
        ({"type": "IVF64,Flat,RFlat", "max_memory": 1 << 30}, "an index IVF64,Flat,RFlat of .* takes about 2.1 GiB"),
        (
            {"type": "IVF16384,SQ8", "max_memory": 512 << 20},
            "IVF16384,SQ8 of .* takes about 2.8 GiB .*--max-memory 3GB`",
        ),
        ({"target_recall": 1.5}, "--target-recall 1.5: give a share"),
        ({"max_memory": 1 << 20}, "--max-memory 1MB: at least 256MB"),
    ],
)
def test_what_does_not_fit_is_refused(asked: dict, message: str) -> None:
    """A request that cannot be met says what can be."""
    with pytest.raises(UsageError, match=message):
        choose(1_000_000, 384, Request(**asked))


@pytest.mark.parametrize("dim", [32, 384, 1024, 4096])
@pytest.mark.parametrize("memory", [256 << 20, 1 << 30, 8 << 30])
def test_a_sample_fits_the_memory(dim: int, memory: int) -> None:
    """Whatever the memory allowed, lists are as many as can be trained within it."""
    for rows in (1_000, 1_000_000, 100_000_000):
        choice = choose(rows, dim, Request("ivf", memory))
        assert choice.n_lists
        assert choice.training <= memory


def test_sizes() -> None:
    """Sizes are read in powers of 1,024."""
    assert [parse_bytes(text) for text in ("8GB", "512MiB", "1.5g")] == [8 << 30, 512 << 20, 3 << 29]
    with pytest.raises(UsageError, match="--max-memory 'much'"):
        parse_bytes("much")


def test_an_unknown_type_is_refused(tmp_path: Path) -> None:
    """Neither a name nor a factory string: refused before anything is read."""
    layout, snapshot = write_out(tmp_path / "out", clustered(100, DIM), 1)
    with pytest.raises(UsageError, match="nor a FAISS factory string for 384 dimensions"):
        build(layout, snapshot, "bogus")
