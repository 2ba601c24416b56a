"""The index: exact, opened by plain libraries, never half there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from embed_corpus.errors import OutputError, UsageError
from embed_corpus.index.build import build_index
from embed_corpus.index.choose import Request
from embed_corpus.index.manifest import read_manifest
from embed_corpus.index.search import open_index, search
from embed_corpus.sink.snapshot import latest_snapshot, publish_snapshot
from embed_corpus.store.layout import Layout
from embed_corpus.verbs.verify import verify
from kit.places import at
from kit.tiny import CORPUS, Command


@pytest.fixture(scope="module")
def indexed(embed_corpus: Command, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """An OUT of 60 documents with an index and their text."""
    out = tmp_path_factory.mktemp("indexed") / "out"
    flags = ("--limit", "60", "--index", "flat", "--keep-text", "--id-column", "id", "--model", tiny_model)
    done = embed_corpus("run", CORPUS, out, *flags)
    assert done.returncode == 0, done.stderr
    return Layout(out)


def rebuild(layout: Layout) -> int:
    snapshot = latest_snapshot(layout)
    assert snapshot is not None
    made = build_index(layout, snapshot, Request("flat"), similarity="cosine", normalized=True)
    assert made is not None
    return made.rows


def test_search_finds_what_brute_force_finds(indexed: Layout) -> None:
    """Hits are the chunks of highest inner product, best first, each with its span and its text."""
    table = ds.dataset(at(indexed.data)).to_table()
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    (hits,) = search(open_index(indexed), vectors[7:8], 5)
    best = np.argsort(-(vectors @ vectors[7]), kind="stable")[:5]
    assert [(hit.doc_id, hit.chunk_index) for hit in hits] == [
        (table["doc_id"][i].as_py(), table["chunk_index"][i].as_py()) for i in best.tolist()
    ]
    assert hits[0].text == table["text"][7].as_py()
    assert hits[0].score == pytest.approx(1, abs=1e-5)


def test_plain_libraries_open_it(indexed: Layout) -> None:
    """Plain faiss and plain pyarrow open the files; row i of the ids tells the chunk of vector i."""
    index = faiss.read_index(str(at(indexed.index / "index.faiss")))
    ids = pa.ipc.open_file(pa.memory_map(str(at(indexed.index / "ids.arrow")))).read_all()
    table = ds.dataset(at(indexed.data)).to_table()
    assert index.ntotal == len(ids) == len(table)
    assert ids["doc_id"].to_pylist() == table["doc_id"].to_pylist()
    assert np.allclose(index.reconstruct(3), table["embedding"][3].as_py())


@pytest.mark.parametrize("name", ["index.faiss", "ids.arrow", "index.json"])
def test_a_damaged_index_is_refused_and_made_anew(indexed: Layout, name: str) -> None:
    """A file cut short is refused by search, and the next run builds the index again."""
    file = at(indexed.index / name)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises((OutputError, UsageError)):
        search(open_index(indexed), np.ones((1, 32), np.float32), 1)
    n = rebuild(indexed)
    assert read_manifest(indexed).rows == n
    assert search(open_index(indexed), np.ones((1, 32), np.float32), 1)


def test_a_changed_index_json_is_refused_and_made_anew(indexed: Layout) -> None:
    """What index.json says, whatever its types, is believed only as it was written; nobody is sent round in circles."""
    n = rebuild(indexed)
    file = at(indexed.index / "index.json")
    for changed in ({"rows": 7}, {"files": 5}, {"parts": "x"}, {"target_recall": None}):
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))
        with pytest.raises(OutputError, match=r"index.json is damaged, .* `embed-corpus index .*` makes it anew"):
            search(open_index(indexed), np.ones((1, 32), np.float32), 1)
        assert not {check.name: check for check in verify(indexed.root, sample=0).checks}["index"].ok
        assert rebuild(indexed) == n
        assert search(open_index(indexed), np.ones((1, 32), np.float32), 1)


def test_an_index_that_is_there_is_not_built_again(indexed: Layout) -> None:
    """Building for the same snapshot leaves the files alone."""
    before = at(indexed.index / "index.faiss").stat().st_ino
    rebuild(indexed)
    assert at(indexed.index / "index.faiss").stat().st_ino == before


def test_verify_sees_a_flipped_bit(indexed: Layout) -> None:
    """A bit flipped in the index, of the same size, is found by its checksum."""
    file = at(indexed.index / "index.faiss")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    checks = {check.name: check for check in verify(indexed.root, sample=0).checks}
    assert not checks["index"].ok
    assert "index.faiss is missing or damaged" in checks["index"].detail
    rebuild(indexed)


@pytest.mark.parametrize("name", ["index.faiss", "ids.arrow"])
def test_damage_of_the_same_size_is_mended(indexed: Layout, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A flipped bit is refused by search; building finds it, says so, and makes the index anew, to the same bytes."""
    file = at(indexed.index / name)
    sound = file.read_bytes()
    file.write_bytes(sound[:-1000] + bytes([sound[-1000] ^ 1]) + sound[-999:])
    with pytest.raises(OutputError, match=f"{name} is missing or damaged"):
        search(open_index(indexed), np.ones((1, 32), np.float32), 1)
    caplog.clear()
    rebuild(indexed)
    assert f"{name} is missing or damaged" in caplog.text
    assert file.read_bytes() == sound


def test_an_index_of_older_parts_is_refused(indexed: Layout, tmp_path: Path) -> None:
    """When the parts have changed since, search refuses the index and says how to renew it."""
    layout = Layout(Path(shutil.copytree(indexed.root, tmp_path / "out")))
    snapshot = latest_snapshot(layout)
    assert snapshot is not None
    publish_snapshot(layout, [replace(snapshot.parts[0], sha256="other")])
    with pytest.raises(UsageError, match="of snapshot 1, the parts have changed since"):
        search(open_index(layout), np.ones((1, 32), np.float32), 1)


@pytest.mark.parametrize("damage", ["gone", "short", "flipped"])
def test_verify_tells_of_a_damaged_part(indexed: Layout, tmp_path: Path, damage: str) -> None:
    """A part that is gone, cut short or altered fails its checks by name; verify itself never fails."""
    layout = Layout(Path(shutil.copytree(indexed.root, tmp_path / "out")))
    (part,) = at(layout.data).iterdir()
    content = bytearray(part.read_bytes())
    part.unlink()
    if damage != "gone":
        content[500:560] = b"x" * 60
        part.write_bytes(content if damage == "flipped" else content[:1000])
    checks = {check.name: check for check in verify(layout.root, sample=4).checks}
    assert not checks["parts"].ok
    assert part.name in checks["parts"].detail


def test_queries_of_another_dimension_are_refused(indexed: Layout) -> None:
    """A query vector of another dimension names both."""
    with pytest.raises(UsageError, match="dimension 32; the query has 8"):
        search(open_index(indexed), np.ones((1, 8), np.float32), 1)
