"""Search a built index with query vectors."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embed_corpus.errors import EmbedCorpusError, OutputError, UsageError
from embed_corpus.index.copies import ROWS, Copies, map_copies, ranked
from embed_corpus.index.distinct import Distinct
from embed_corpus.index.effort import deep_enough, effort_of, full_search
from embed_corpus.index.files import stored_index, told
from embed_corpus.index.ids import map_ids, taken
from embed_corpus.index.kept_texts import kept_texts
from embed_corpus.index.manifest import (
    HAMMING,
    SCALED,
    check_current,
    check_files,
    check_parts,
    read_manifest,
    warn_below_target,
)
from embed_corpus.index.quality import exact_search
from embed_corpus.index.rows import Vectors, scale_rows, schema_of, space_of
from embed_corpus.index.where import rows_where
from embed_corpus.sink.snapshot import latest_snapshot
from embed_corpus.vectors.codec import codec_of
from embed_corpus.vectors.ubinary import signs_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.index.schema import IndexRecord
    from embed_corpus.sink.snapshot import PartEntry
    from embed_corpus.store.layout import Layout

__all__ = ["Found", "Hit", "OpenIndex", "best_documents", "open_index", "search"]

log = logging.getLogger("embed_corpus")

Found = tuple["NDArray[np.float32]", "NDArray[np.int64]"]
"""Scores and row numbers of what was found, [n, k] each, best first; row -1 where there is nothing more."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found: similarity, where it stands, and its text where that was kept."""

    score: float
    doc_id: str
    chunk_index: int
    char_start: int
    char_end: int
    text: str | None


@dataclass(frozen=True)
class OpenIndex:
    """An index of the current `parts`, in the order of its rows, open for search: `among` some of them, or all.

    `copies` are the rows of each vector of the index; None where row i has vector i.
    """

    layout: Layout
    manifest: IndexRecord
    index: Any
    parts: tuple[PartEntry, ...]
    among: NDArray[np.bool_] | None = None
    copies: Copies | None = None

    @cached_property
    def ids(self) -> pa.Table:
        """Row i tells the i-th chunk; mapped."""
        return map_ids(self.layout.store.local(self.layout.index / "ids.arrow"))

    @cached_property
    def vectors(self) -> Vectors:
        """The vectors that the index was made of, in its order.

        Raises:
            UsageError: a part was made again since.
        """
        check_parts(self.layout, self.parts)
        codec = codec_of(schema_of(self.layout, self.parts[0].name))
        scaled = self.manifest.metric == SCALED
        if self.copies is None:
            return Vectors(self.layout, self.parts, codec, scaled)
        return Distinct(self.layout, self.parts, codec, scaled, self.copies.first)

    @cached_property
    def answers(self) -> Copies | None:
        """The rows of each vector that may be found."""
        return self.copies if self.copies is None or self.among is None else self.copies.only(self.among)

    def prepared(self, queries: NDArray[np.float32]) -> NDArray[Any]:
        """Make queries [n, dim] what the index takes.

        Raises:
            UsageError: they have another dimension.
        """
        if queries.shape[1] != self.index.d:
            raise UsageError(
                f"{self.layout.index} holds {self.index.ntotal} vectors of dimension {self.index.d}; "
                f"the query has {queries.shape[1]}."
            )
        if self.manifest.metric == HAMMING:
            return signs_of(queries)
        queries = np.ascontiguousarray(queries, np.float32)
        return scale_rows(queries) if self.manifest.metric == SCALED else queries

    def scores(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Turn what FAISS gives into similarities: of bits, the cosine of the signs."""
        return 1 - 2 * raw / self.index.d if self.manifest.metric == HAMMING else raw

    def only(self, conditions: Sequence[str]) -> OpenIndex:
        """Return it for a search among the chunks that meet conditions as in `rows_where`.

        Raises:
            UsageError: a condition cannot be met, or a part was made again since. OutputError: a part is damaged.
        """
        check_parts(self.layout, self.parts)
        return replace(self, among=rows_where(self.layout, self.manifest, conditions))

    @property
    def n_rows(self) -> int:
        """Rows to search."""
        return int(self.manifest.rows if self.among is None else self.among.sum())

    def search(self, queries: NDArray[np.float32], k: int) -> Found:
        """Return the `k` best rows for each query [n, dim]; of equal scores the first.

        Where FAISS cannot search an index among some rows, or a graph's walk does not come to so many, vectors are
        searched exactly.

        Raises:
            UsageError: queries of another dimension, or an index that FAISS cannot search.
        """
        ready, k = self.prepared(queries), min(k, self.n_rows)
        if not k:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        some = self.among if self.among is None or self.answers is None else self.answers.any
        n = min(k, int(self.index.ntotal if some is None else some.sum()))
        try:
            with deep_enough(self.index, n):
                raw, vectors = full_search(self.index, ready, n, some)
        except RuntimeError as error:
            if some is None:
                raise UsageError(f"FAISS cannot search {self.layout.index} ({told(error)}): see --type.") from error
            log.info("FAISS cannot search %s among some rows: these are searched exactly", self.manifest.type)
            raw, vectors = self._exactly(ready, n, some)
        graph = (effort := effort_of(self.index)) is not None and effort.name == "efSearch"
        if (graph or some is not None) and (short := vectors[:, -1] < 0).any():
            raw[short], vectors[short] = self._exactly(ready[short], n, some)
        return self.rows_of(self.scores(raw), vectors, k)

    def rows_of(self, scores: NDArray[np.float32], vectors: NDArray[np.int64], k: int) -> Found:
        """Turn vectors found into the `k` best rows."""
        return ranked(scores, vectors) if self.answers is None else self.answers.expanded(scores, vectors, k)

    def _exactly(
        self, ready: NDArray[Any], k: int, some: NDArray[np.bool_] | None
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        among = np.ones(self.index.ntotal, np.bool_) if some is None else some

        def blocks() -> Iterator[tuple[int, NDArray[Any]]]:
            n = 0
            for group in self.vectors.groups:
                if (here := among[group.first : group.first + group.n_rows]).any():
                    yield n, self.vectors.prepared(self.vectors.stored(group)[here])
                    n += int(here.sum())

        scores, places = exact_search(blocks(), ready, k)
        rows = np.where(places < 0, -1, np.flatnonzero(among)[places])
        return -scores if self.manifest.metric == HAMMING else scores, rows


def open_index(layout: Layout, where: Sequence[str] = ()) -> OpenIndex:
    """Open the index of OUT, for a search among the chunks that meet conditions as in `rows_where`, or among all.

    Raises:
        UsageError: OUT has no index, or one of other parts; a condition cannot be met.
        OutputError: the index is damaged.
    """
    manifest = read_manifest(layout)
    if manifest is None:
        raise UsageError(f"{layout.root} has no index: `embed-corpus index {layout.root}` makes one.")
    try:
        opened = _opened(layout, manifest, where)
    except EmbedCorpusError:
        if _is_there(layout, manifest):
            raise
        return open_index(layout, where)
    if not _is_there(layout, manifest):
        return open_index(layout, where)
    warn_below_target(layout, manifest)
    return opened


def _is_there(layout: Layout, manifest: IndexRecord) -> bool:
    """Whether no build has put another index in its place meanwhile."""
    now = read_manifest(layout)
    return now is not None and now.sha256 == manifest.sha256


def _opened(layout: Layout, manifest: IndexRecord, where: Sequence[str]) -> OpenIndex:
    snapshot = latest_snapshot(layout)
    first = snapshot.parts[0].name if snapshot and snapshot.parts else None
    space = space_of(layout, first) if first and layout.store.stat(layout.data / first) else manifest.space
    check_current(layout, manifest, snapshot, space)
    check_files(layout, manifest)
    index = stored_index(layout, binary=manifest.metric == HAMMING)
    if (index.ntotal, index.d) != (manifest.n_vectors, manifest.dim):
        raise OutputError(
            f"{layout.index} holds {index.ntotal} vectors of dimension {index.d}, not what index.json says: "
            f"`embed-corpus index {layout.root}` makes it anew."
        )
    assert snapshot is not None
    named = {part.name: part for part in snapshot.parts}
    parts = tuple(named[part.name] for part in manifest.parts)
    copies = map_copies(layout.store.local(layout.index / ROWS)) if ROWS in manifest.files else None
    opened = OpenIndex(layout, manifest, index, parts, copies=copies)
    if where:
        opened = opened.only(where)
    opened.ids.num_rows  # noqa: B018  # mapped now: a build may put another file in its place
    return opened


def search(opened: OpenIndex, queries: NDArray[np.float32], k: int, *, by_document: bool = False) -> list[list[Hit]]:
    """Return the `k` best chunks for each query vector [n, dim], best first; or the best of each of `k` documents.

    Over ubinary the queries are made bits, too, and a score is the cosine of the signs.

    Raises:
        UsageError: queries of another dimension, or a part was made again since.
        OutputError: a part is damaged.
    """

    def find(n: int) -> Found:
        return opened.search(queries, n)

    scores, rows = best_documents(find, opened.ids, k, opened.n_rows) if by_document else find(k)
    flat = rows[rows >= 0]
    chunks = taken(opened.ids, flat).to_pylist()
    texts = kept_texts(opened.layout, opened.parts, chunks)
    hits = iter(
        Hit(score, i["doc_id"], i["chunk_index"], i["char_start"], i["char_end"], text)
        for score, i, text in zip(scores[rows >= 0].tolist(), chunks, texts, strict=True)
    )
    return [[next(hits) for _ in range(n)] for n in (rows >= 0).sum(axis=1).tolist()]


def best_documents(find: Callable[[int], Found], ids: pa.Table, k: int, n_rows: int) -> Found:
    """Find the best chunk of each of the `k` best documents; `find` gives the n best chunks, `ids` their `doc_id`.

    Asks for more chunks until every query has `k` documents or all that is found for it, or all `n_rows` were
    looked at.
    """
    n_chunks, known, documents = 4 * k, np.empty(0, np.int64), []
    while True:
        scores, rows = find(min(n_chunks, n_rows))
        new = np.setdiff1d(rows[rows >= 0], known)
        known = np.concatenate([known, new])
        documents += taken(ids.select(["doc_id"]), new)["doc_id"].chunks
        of = pa.chunked_array(documents, pa.string()).combine_chunks().dictionary_encode().indices.to_numpy()
        order = np.argsort(known)
        firsts = []
        for row in rows:
            places = order[known.searchsorted(row[row >= 0], sorter=order)]
            firsts.append(np.sort(np.unique(of[places], return_index=True)[1])[:k])
        whole = all(len(first) == k or -1 in row[-1:] for first, row in zip(firsts, rows, strict=True))
        if whole or n_chunks >= n_rows:
            break
        n_chunks *= 4
    best = np.full((len(rows), k), -np.inf, np.float32), np.full((len(rows), k), -1, np.int64)
    for i, first in enumerate(firsts):
        best[0][i, : len(first)], best[1][i, : len(first)] = scores[i, first], rows[i, first]
    return best
