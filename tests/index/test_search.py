"""Searches over an index: many queries, by document, among some."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from embed_corpus.errors import DataError, OutputError, UsageError
from embed_corpus.index import manifest
from embed_corpus.index.advise import advise
from embed_corpus.index.build import build_index
from embed_corpus.index.choose import Request
from embed_corpus.index.evaluate import evaluate
from embed_corpus.index.ids import taken
from embed_corpus.index.judgements import read_qrels, scores_of
from embed_corpus.index.manifest import digest_of, read_manifest
from embed_corpus.index.rows import Vectors, open_vectors
from embed_corpus.index.schema import IndexedPart
from embed_corpus.index.search import Found, best_documents, open_index, search
from embed_corpus.index.where import rows_where
from embed_corpus.sink.readback import note_file
from embed_corpus.sink.snapshot import latest_snapshot, publish_snapshot
from embed_corpus.store.layout import Layout
from embed_corpus.store.notes import replace_json
from embed_corpus.verbs.queries import read_queries
from kit.places import at
from kit.tiny import CORPUS, Command
from kit.vector_parts import clustered, write_out, write_part

DIM = 16


@pytest.fixture(scope="module", params=["flat", "IVF16,Flat", "HNSW16", "IVF16,PQ4x4fs"])
def out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """3,000 vectors, two a document, behind indexes of several kinds."""
    layout, snapshot = write_out(tmp_path_factory.mktemp("search") / "out", clustered(3000, DIM), 2)
    build_index(layout, snapshot, Request(request.param), similarity="cosine", normalized=True)
    return layout


def stored(layout: Layout) -> tuple[pa.Table, np.ndarray]:
    table = ds.dataset(at(layout.data)).to_table()
    return table, table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)


@pytest.mark.heavy
def test_filters_come_before_the_search(out: Layout) -> None:
    """All hits meet the conditions, there are k of them, and they are those of brute force among what meets them."""
    table, vectors = stored(out)
    meets = np.array(
        [
            lang in {"de", "fr"} and year > 1995
            for lang, year in zip(*(table[c].to_pylist() for c in ("lang", "year")), strict=True)
        ]
    )
    conditions = ["lang in de, fr", "year > 1995"]
    assert meets.sum() == 80
    found = search(open_index(out, conditions), vectors[:40], 5)
    ids = np.array(table["doc_id"].to_pylist())
    same = 0
    for query, hits in zip(vectors[:40], found, strict=True):
        best = np.flatnonzero(meets)[np.argsort(-(vectors[meets] @ query), kind="stable")[:5]]
        assert {h.doc_id for h in hits} <= set(ids[meets])
        assert len(hits) == 5
        same += len({h.doc_id for h in hits} & set(ids[best]))
    assert same / 200 >= (0.95 if "PQ" not in str(faiss.read_index(str(at(out.index / "index.faiss")))) else 0.3)


def test_by_document(out: Layout) -> None:
    """Each document is told once, with its best chunk, and there are k documents."""
    _, vectors = stored(out)
    opened = open_index(out)
    both = search(opened, vectors[:10], 7, by_document=True), search(opened, vectors[:10], 40)
    for hits, chunks in zip(*both, strict=True):
        assert len({hit.doc_id for hit in hits}) == len(hits) == 7
        best = {}
        for hit in chunks:
            best.setdefault(hit.doc_id, hit)
        assert [hit.score for hit in hits] == [hit.score for hit in best.values()][:7]  # codes may tie


@pytest.mark.parametrize(
    ("condition", "n"),
    [
        ("lang = de", 1000),
        ("lang = 'de'", 1000),
        ("lang in ('de', \"en\")", 2000),
        ("lang != de", 2000),
        ("year<1910", 300),
        ("year = 1950", 30),
        ("lang in en,fr", 2000),
        ("lang in 'de, or so', \"fr\"", 1000),
    ],
)
def test_conditions(out: Layout, condition: str, n: int) -> None:
    """Each operator does what it says."""
    assert rows_where(out, read_manifest(out), [condition]).sum() == n


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("lang", "give COLUMN OP VALUE"),
        ("size = 5", "--where size: no such column; there are .*lang.*year"),
        ("year = x", "--where year = x: the column holds int32"),
        *((f"lang {op} de", "OP one of =, !=, <, <=, >, >=, in, not in") for op in ("===", "=>", "<>", "=<")),
    ],
)
def test_conditions_that_are_none(out: Layout, condition: str, message: str) -> None:
    """A condition that cannot be met says why."""
    with pytest.raises(UsageError, match=message):
        search(open_index(out, [condition]), clustered(1, DIM), 1)


def test_columns_of_many_types(tmp_path: Path) -> None:
    """Booleans, times, numbers, dictionaries, names with spaces: each as what it is; null meets nothing."""
    layout = Layout(tmp_path)
    at(layout.data).mkdir()
    when = pa.array(["2020-01-01", "2020-01-02", None]).cast(pa.timestamp("us"))
    kind = pa.array(["a", "b", None]).dictionary_encode()
    columns = {
        "when": when,
        "kind": kind,
        "is ok": [True, False, None],
        "n": [1.5, -2, None],
        "it": ["it's", "'", None],
    }
    pq.write_table(pa.table(columns), at(layout.data / "p.parquet"))
    meets = {
        "when < 2020-01-02": [0],
        "kind in b, c": [1],
        "kind != b": [0],
        "is ok = true": [0],
        "is ok in false": [1],
    }
    meets |= {
        "n > -3": [0, 1],
        "n in 1.5": [0],
        "it = it's": [0],
        "it = '": [1],
        'it = "it\'s"': [0],
        "it != null": [0, 1],
    }
    for condition, rows in meets.items():
        of_one_part: Any = SimpleNamespace(parts=[IndexedPart("p.parquet", "", 0)])
        met = rows_where(layout, of_one_part, [condition])
        assert np.flatnonzero(met).tolist() == rows, condition


def test_nothing_meets_it(out: Layout) -> None:
    """A search among nothing finds nothing."""
    assert search(open_index(out, ["lang = xx"]), clustered(2, DIM), 3) == [[], []]


@pytest.mark.parametrize("size", ["same", "other"])
def test_a_part_made_again_since_is_refused(tmp_path: Path, size: str) -> None:
    """Rows of a part that a run has redone are not those of the index: no filter, judgement or build takes them."""
    vectors = clustered(400, DIM)
    layout, snapshot = write_out(tmp_path / "out", vectors, 2)
    build_index(layout, snapshot, Request("flat"), similarity="cosine", normalized=True)
    again = write_part(layout, "p01", vectors[200 if size == "same" else 190 :][::-1])
    if size == "same":
        assert again.bytes == snapshot.parts[1].bytes
        stats = {"counts": asdict(again.counts), "bytes": again.bytes, "sha256": again.sha256}
        replace_json(layout, note_file(layout, "p01.parquet"), stats)
    message = r"p01.parquet was made again since the snapshot: let the run .* then run `embed-corpus index .*out` again"
    with pytest.raises(UsageError, match=message):
        search(open_index(layout, ["lang = de"]), vectors[:1], 3)
    with pytest.raises(UsageError, match=message):
        evaluate(open_index(layout), ["a"], lambda _: vectors[:1], {"a": {"p00-0": 1}})
    with pytest.raises(UsageError, match=message):
        build_index(layout, snapshot, Request("hnsw"), similarity="cosine", normalized=True)
    assert search(open_index(layout), vectors[:1], 1)[0][0].doc_id == "p00-0"  # ids.arrow tells all of it


def test_texts_of_a_part_made_again_are_refused(tmp_path: Path) -> None:
    """Nor is the text of another chunk told."""
    layout, snapshot = write_out(tmp_path / "out", clustered(4, DIM), 1)
    file = at(layout.data / snapshot.parts[0].name)
    for text in ("before", "after all"):
        pq.write_table(
            pq.read_table(file, columns=ds.dataset(file).schema.names[:9]).append_column("text", [[text] * 4]), file
        )
        if text == "before":
            entry = replace(snapshot.parts[0], bytes=file.stat().st_size)
            build_index(
                layout, publish_snapshot(layout, [entry]), Request("flat"), similarity="cosine", normalized=True
            )
            assert search(open_index(layout), clustered(4, DIM), 1)[0][0].text == text
    with pytest.raises(UsageError, match="was made again since the snapshot"):
        search(open_index(layout), clustered(4, DIM), 1)


def test_documents_are_looked_for_no_longer_than_there_are_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the lists of 10 results hold fewer than are asked for, more are visited; no row's id is looked up twice."""
    layout, snapshot = write_out(tmp_path / "out", clustered(3000, DIM), 1)
    build_index(layout, snapshot, Request("IVF64,Flat", target_recall=0.1), similarity="cosine", normalized=True)
    opened, asked, looked_up = open_index(layout), [], []
    monkeypatch.setattr("embed_corpus.index.search.taken", lambda t, rows: looked_up.append(rows) or taken(t, rows))

    def find(n: int) -> Found:
        asked.append(n)
        return opened.search(clustered(3, DIM), n)

    _, rows = best_documents(find, opened.ids, 200, 3000)
    assert (asked[0], (rows >= 0).all()) == (800, True)
    looked_up.clear()
    ids = pa.table({"doc_id": [f"{i // 50}" for i in range(3000)]})
    _, rows = best_documents(lambda n: (np.zeros((1, n), np.float32), np.arange(n)[None]), ids, 10, 3000)
    assert rows.tolist() == [list(range(0, 500, 50))]
    assert sorted(np.concatenate(looked_up)) == list(range(640))


def test_vectors_of_another_model_are_refused(out: Layout) -> None:
    """An index of another space than the parts' is refused."""
    file = at(out.index / "index.json")
    kept = file.read_text()
    manifest = json.loads(kept) | {"space": "another"}
    file.write_text(json.dumps(manifest | {"sha256": digest_of(manifest)}))
    with pytest.raises(UsageError, match="vectors of another model than the parts"):
        search(open_index(out), clustered(1, DIM), 1)
    file.write_text(kept)


def test_a_damaged_header_is_refused(out: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file too large to be hashed each time, whose beginning is damaged, is refused by FAISS' own look at it."""
    monkeypatch.setattr(manifest, "_QUICK_BYTES", 0)
    file = at(out.index / "index.faiss")
    kept = file.read_bytes()
    file.write_bytes(b"xxxx" + kept[4:])
    with pytest.raises(OutputError, match=r"index.faiss is damaged"):
        search(open_index(out), clustered(1, DIM), 1)
    file.write_bytes(kept)


def test_the_command(embed_corpus: Command, tiny_model: Path, tmp_path: Path) -> None:
    """index, search with queries of a file to JSON and Parquet, evaluate and advise, as a user calls them."""
    out, queries, qrels, hits = (tmp_path / name for name in ("out", "q.jsonl", "qrels", "hits.parquet"))
    flags = ("--limit", "150", "--keep-text", "--id-column", "id", "--model", tiny_model)
    texts = pq.read_table(CORPUS / "cranfield-0.parquet").slice(0, 3).to_pylist()
    queries.write_text("".join(json.dumps({"id": f"q{t['id']}", "text": t["text"][:150]}) + "\n" for t in texts))
    qrels.write_text("".join(f"q{t['id']} 0 {t['id']} 1\n" for t in texts))
    assert embed_corpus("run", CORPUS / "cranfield-0.parquet", out, *flags).returncode == 0
    indexed = embed_corpus("index", out, "--type", "IVF4,Flat")
    assert "IVF4,Flat of " in indexed.stdout, indexed.stderr
    told = embed_corpus("search", out, "--queries", queries, "-k", 2, "--by", "document", "--format", "json")
    rows = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(row["query"], row["rank"]) for row in rows] == [(f"q{t['id']}", rank) for t in texts for rank in (1, 2)]
    assert set(rows[0]) == {"query", "rank", "score", "doc_id", "chunk_index", "char_start", "char_end", "text"}
    assert embed_corpus("search", out, "--queries", queries, "--format", "parquet", "--output", hits).returncode == 0
    assert pq.read_table(hits).num_rows == 30
    judged = json.loads(embed_corpus("evaluate", out, "--queries", queries, "--qrels", qrels, "--json").stdout)
    assert judged["n_queries"] == 3
    assert judged["exact"].keys() == judged["through_index"].keys() == {"nDCG@10", "recall@100", "MRR@10"}
    none = embed_corpus("search", out, "heat", "--where", "doc_id = xx", "--format", "json")
    assert (none.returncode, none.stdout) == (0, "")
    early = embed_corpus("search", out, "heat", "--where", "size = 5", "--model", tmp_path)
    assert (early.returncode, "--where size: no such column" in early.stderr) == (2, True)  # no word of the model
    refused = embed_corpus("search", out)
    assert (refused.returncode, "give a QUERY, several, or --queries FILE." in refused.stderr) == (2, True)


@pytest.mark.heavy
def test_advice(tmp_path: Path) -> None:
    """Every combination is tried; what keeps all finds all, and fewer bits find less."""
    layout, snapshot = write_out(tmp_path / "out", clustered(1500, 64), 1)
    vectors = open_vectors(layout, snapshot.parts, "cosine", normalized=True)
    tried = {(a.dim, a.vector_type, a.index[:3]): a for a in advise(vectors, 1000, 0.9)}
    assert len(tried) == 2 * 4 * 3
    assert tried[64, "float32", "Fla"].recall == 1
    assert tried[64, "float16", "Fla"].recall > tried[64, "int8", "Fla"].recall > tried[64, "ubinary", "BFl"].recall
    assert tried[64, "int8", "Fla"].recall > tried[32, "float32", "Fla"].recall
    assert tried[32, "ubinary", "BFl"].vector_bytes == 1500 * 4
    assert latest_snapshot(layout) == snapshot


def test_advice_reads_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups that hold nothing of the sample are not read."""
    layout, snapshot = write_out(tmp_path / "out", clustered(20_000, 16), 20)
    vectors, read = open_vectors(layout, snapshot.parts, "cosine", normalized=True), []
    stored = Vectors.stored
    monkeypatch.setattr(Vectors, "stored", lambda self, group: (read.append(group), stored(self, group))[1])
    next(advise(vectors, 1000, 0.9))
    assert len(read) == len(set(read)) == 8  # those of four times 2,000 rows


def test_queries_without_judgement_are_not_embedded(out: Layout) -> None:
    """Vectors are asked for of judged queries alone, and of none where no judgement can be met."""
    _, vectors = stored(out)
    asked = []

    def embed(which: list[int]) -> np.ndarray:
        asked.append(which)
        return vectors[which]

    names, qrels = ["p00-0", "none", "p00-1"], {"p00-0": {"p00-0": 1}, "p00-1": {"p00-1": 1}, "else": {"p00-2": 1}}
    judged = evaluate(open_index(out), names, embed, qrels)
    assert (judged.n_queries, judged.n_unjudged, asked) == (2, 1, [[0, 2]])
    with pytest.raises(DataError, match="none of the 1 relevant documents"):
        evaluate(open_index(out), names, embed, {"none": {"elsewhere": 1}})
    part, away = at(out.data / "p01.parquet"), out.root / "away"
    part.rename(away)
    with pytest.raises(OutputError, match=r"p01.parquet is gone"):
        evaluate(open_index(out), names, embed, qrels)
    away.rename(part)
    assert asked == [[0, 2]]


def test_scores_of_a_ranking() -> None:
    """nDCG@10, recall@100 and MRR@10 of a ranking worked out by hand."""
    ndcg, recall, mrr = scores_of(["x", "a", "b"], {"a": 2, "b": 1, "c": 1, "d": 0})
    assert ndcg == pytest.approx((2 / np.log2(3) + 1 / 2) / (2 + 1 / np.log2(3) + 1 / 2))
    assert (recall, mrr) == (pytest.approx(2 / 3), 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "q1 0 d1 0.5\nq1 0 d2 0\n",
        "\ufeffq1\td1\t.5\nq1\td2\t0\n",
        "query\tdoc\trel\nq1\td1\t0.5\nq1\td2\t0\n",
    ],
)
def test_judgements(tmp_path: Path, text: str) -> None:
    """TREC's form, and TSV with and without a head or a byte order mark, are the same judgements."""
    (tmp_path / "qrels").write_text(text)
    assert read_qrels(tmp_path / "qrels") == {"q1": {"d1": 0.5, "d2": 0}}


def test_bad_files(tmp_path: Path) -> None:
    """A line that is no judgement, a row that is no query: told with file and line."""
    for text, line in {"q d 1\nq 0\n": 2, "q 0 d x\n": 1, "q 0 d 1\nq 0 e inf\n": 2}.items():
        (tmp_path / "x").write_text(text)
        with pytest.raises(DataError, match=f"x, line {line}: neither"):
            read_qrels(tmp_path / "x")
    for name in ('{"a": 1}', '"\\ud800"', "null"):
        (tmp_path / "x.jsonl").write_text(f'{{"id": {name}, "text": "a"}}\n')
        with pytest.raises(DataError, match=r"x\.jsonl, line 1: no text or number in 'id'"):
            read_queries(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text('{"id": 1, "text": "a"}\n{"id": 2, "text": " "}\n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 2: the query is empty, or no text, in 'text'"):
        read_queries(tmp_path / "x.jsonl")
    (tmp_path / "x.jsonl").write_text('{"id": 1, "body": "a"}\n')
    with pytest.raises(DataError, match="has no column text or query or question; there are id, body"):
        read_queries(tmp_path / "x.jsonl")
    (tmp_path / "x").write_text('{"id": 1, "text": "a"}\n')
    with pytest.raises(DataError, match=r"x: its ending does not tell its format. Read are \.parquet"):
        read_queries(tmp_path / "x")
