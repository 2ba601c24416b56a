"""Build the index of a snapshot: chosen, trained on a sample, added to run by run, measured, put in place."""

from __future__ import annotations

import hashlib
import json
import logging
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import OutputError, UsageError
from embed_corpus.index.check import (
    check_gpu,
    check_indexable,
    check_room,
    empty_index,
    gpus,
    on_gpus,
    threads_for,
    usable,
)
from embed_corpus.index.copies import ROWS, write_copies
from embed_corpus.index.distinct import merged, numbers_of_rows
from embed_corpus.index.effort import inverted
from embed_corpus.index.files import IVF_DATA, finish, read_index, settle, stored_index, tidy, told, write_index
from embed_corpus.index.held_out import measured, questions, tell_below_target
from embed_corpus.index.ids import write_ids
from embed_corpus.index.lists import RUN_ROWS, OldLists, Run, Source, code_run, into_file, into_memory
from embed_corpus.index.manifest import check_parts
from embed_corpus.index.rows import open_vectors, space_of
from embed_corpus.index.sample import Draw, draw
from embed_corpus.index.schema import IndexRecord, in_order
from embed_corpus.index.turns import continues, settled_for_less, turns
from embed_corpus.report.steps import steps
from embed_corpus.sink.snapshot import latest_snapshot
from embed_corpus.store.commit import alone_on, attempt, replace
from embed_corpus.store.workshop import clear, holds, take_place

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.index.choose import Request
    from embed_corpus.index.rows import Vectors
    from embed_corpus.index.turns import Turn
    from embed_corpus.sink.snapshot import Snapshot
    from embed_corpus.store.layout import Layout

__all__ = ["build_index"]

log = logging.getLogger("embed_corpus")


def build_index(
    layout: Layout,
    snapshot: Snapshot,
    request: Request,
    *,
    similarity: str,
    normalized: bool,
    stream: TextIO | None = None,
) -> IndexRecord | None:
    """Build the index of a snapshot, unless it is there, and return its record; None without vectors.

    Beside `index.faiss` (and `index.ivfdata`, where the lists pass the memory) lie `ids.arrow` and
    `index.json`, written last. What is done when it is killed is not done again. An index of some
    of the parts is extended; one of parts that are gone is made anew.

    Raises:
        UsageError: see `check_indexable` and `check_parts`, or the type does not fit the memory, or not so few vectors.
        OutputError: the index cannot be written, or a part is damaged.
    """
    if not snapshot.counts.chunks:
        log.warning("no vectors, so no index")
        return None
    with alone_on(layout.store.local(layout.indexing), wait="waiting for another process that builds the index"):
        finish(layout)
        newest = latest_snapshot(layout)  # another process may have built of a later one meanwhile
        if newest and newest.number > snapshot.number:
            snapshot = newest
        return _built(layout, snapshot, request, similarity=similarity, normalized=normalized, stream=stream)


def _built(
    layout: Layout, snapshot: Snapshot, request: Request, *, similarity: str, normalized: bool, stream: TextIO | None
) -> IndexRecord:
    """Build what is not there, alone."""
    check_gpu(request)
    started = time.perf_counter()
    space = space_of(layout, snapshot.parts[0].name)
    there = usable(layout, snapshot, request, space)
    if there and settled_for_less(there):
        there = None
    if there and len(there.parts) == len(snapshot.parts):
        tidy(layout)
        return there
    old = there.checksums if there else {}
    named = {part.name: part for part in snapshot.parts}
    parts = [
        *(named[n] for n in old if n in named),
        *(p for p in snapshot.parts if p.name not in old),
    ]
    check_parts(layout, parts)
    rows = open_vectors(layout, parts, similarity, normalized=normalized)
    check_indexable(similarity, request, rows.codec.dim, binary=rows.binary)
    numbers = numbers_of_rows(rows, request.max_memory, stream)
    if there and not continues(there, numbers):
        log.warning("the index in %s holds equal vectors otherwise than is done now: it is made anew", layout.root)
        there = None
    vectors = rows if numbers is None else merged(rows, numbers)
    for turn in turns(layout, vectors, request, there):
        build = _Build(layout, snapshot, rows, vectors, numbers, turn, request, stream)
        try:
            manifest = build.run(space, started)
        except RuntimeError as error:
            raise UsageError(
                f"an index of type {build.factory} cannot be built here ({told(error)}): take --type auto."
            ) from error
        if manifest is not None:
            break
    assert manifest is not None  # the last turn keeps what it makes
    tidy(layout)
    return manifest


@dataclass
class _Build:
    """One build: of `vectors` that are told apart, by the `numbers` of all `rows` where some have the same."""

    layout: Layout
    snapshot: Snapshot
    rows: Vectors
    vectors: Vectors
    numbers: NDArray[np.int32] | None
    turn: Turn
    request: Request
    stream: TextIO | None

    def __post_init__(self) -> None:
        self.choice, self.there = self.turn.choice, self.turn.there
        about = {
            "factory": self.choice.factory,
            "n_train": self.choice.n_train,
            "parts": [[part.name, part.sha256] for part in self.vectors.parts],
            "old": self.there.to_json()["files"] if self.there else {},
            **({} if self.numbers is None else {"vectors": self.vectors.n_rows}),
        }
        digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()
        self.work = self.layout.store.local(self.layout.indexing / digest[:20])
        self.begin = self.there.n_vectors if self.there else 0
        self.n_train = self.there.n_train if self.there else self.choice.n_train
        self.factory = self.there.type if self.there else self.choice.factory

    def run(self, space: str, started: float) -> IndexRecord | None:
        """Do it all; returns its record, None where the recall is missed and something else shall be tried."""
        self.turn.tell(self.vectors, self.rows.n_rows)
        take_place(self.work)
        check_room(self.work, self.choice, self.vectors.n_rows, self.begin, self.rows.n_rows)
        index = self._old() if self.there else self._trained()
        with attempt(self.work, IVF_DATA) as lists, attempt(self.work, "index.faiss") as file:
            on_disk = self._filled(index, lists)
            quality = self._measured(index)
            if quality is None:
                return None
            if on_disk is not None:
                on_disk.filename = IVF_DATA
            write_index(index, file)
            with attempt(self.work, "ids.arrow") as ids, attempt(self.work, ROWS) as copies:
                write_ids(self.rows, ids)
                made = {"index.faiss": file, "ids.arrow": ids} | ({} if on_disk is None else {IVF_DATA: lists})
                if self.numbers is not None:
                    write_copies(self.numbers, copies)
                    made[ROWS] = copies
                manifest = self._manifest(space, quality, time.perf_counter() - started)
                manifest = settle(made, manifest, self.work)
        finish(self.layout)
        return manifest

    def _draw(self) -> Draw:
        """The sample of the parts that the index was trained on."""
        if not self.there:
            return draw(self.vectors, self.n_train)
        return draw(self.vectors.of_parts(self.there.trained_parts), self.n_train)

    def _old(self) -> Any:
        return stored_index(self.layout, binary=self.vectors.binary)

    def _trained(self) -> Any:
        """Train on the sample, or read what was trained before a kill."""
        file = self.work / "trained.faiss"
        if holds(file):
            try:
                return read_index(file, binary=self.vectors.binary)
            except OutputError as error:
                log.warning("%s That is done now.", error)
                clear(self.work)
        index = empty_index(self.factory, self.vectors.codec.dim, binary=self.vectors.binary)
        if not index.is_trained:
            sample = self.vectors.take(self._draw().train)
            log.info("training on %s vectors", f"{len(sample):,}")
            if (
                not self.vectors.binary
                and (ivf := inverted(index)) is not None
                and self.request.gpu != "off"
                and gpus()
            ):
                import faiss

                nearest = on_gpus(faiss.IndexFlatIP(ivf.d))
                ivf.clustering_index = nearest  # FAISS keeps a pointer: it has to live as long
            with threads_for(len(sample)):
                index.train(sample)
        with attempt(self.work, "trained.faiss") as made:
            write_index(index, made)
            replace(made, file)
        return read_index(file, binary=self.vectors.binary)

    def _filled(self, index: Any, lists: Path) -> Any:
        """Add the vectors; returns the lists if they are in the file."""
        ivf = None if self.vectors.binary else inverted(index)
        if ivf is None:
            blocks = self.vectors.blocks(self.begin)
            for _, block in steps(blocks, self.vectors.n_rows - self.begin, lambda b: len(b[1]), "adding", self.stream):
                index.add(block)
            return None
        sources: list[Source] = [OldLists(ivf)] if self.there else []
        sources += self._runs(index, ivf)
        log.info("merging %d runs%s", len(sources), " on disk" if self.choice.on_disk else "")
        if self.choice.on_disk:
            index.ntotal = into_file(ivf, sources, self.request.at_once, lists)
            import faiss

            return faiss.downcast_InvertedLists(ivf.invlists)
        index.ntotal = into_memory(ivf, sources, self.request.at_once)
        return None

    def _runs(self, index: Any, ivf: Any) -> list[Run]:
        quantizer, n_rows = ivf.quantizer, self.vectors.n_rows
        if self.request.gpu != "off" and gpus():
            quantizer = on_gpus(quantizer)
        size = int(ivf.code_size)
        step = min(RUN_ROWS, 2 * self.request.at_once // (size + 12))
        firsts = range(self.begin, n_rows, step)
        runs = [Run(self.work / f"run-{a:012d}", min(step, n_rows - a), size) for a in firsts]
        todo = list(zip(firsts, runs, strict=True))
        for first, run in steps(todo, n_rows - self.begin, lambda t: t[1].n_rows, "adding", self.stream):
            if not run.is_there:
                code_run(index, ivf, quantizer, self.vectors, first, run)
        return runs

    def _measured(self, index: Any) -> dict[str, Any] | None:
        """Measure it; None where that is not good enough, and something else shall be tried."""
        own = questions(self._draw().held_out, self.begin, self.vectors.n_rows)
        quality = measured(index, self.vectors, own, self.request.target_recall, self.stream)
        if (recall := quality["recall"]["10"]) < self.request.target_recall:
            if not self.turn.keep:
                self.turn.note(recall)
                return None
            tell_below_target(recall, self.request.target_recall, self.factory)
        return quality

    def _manifest(self, space: str, quality: dict[str, Any], seconds: float) -> IndexRecord:
        return IndexRecord(
            type=self.factory,
            family=self.choice.family,
            asked=self.request.type,
            target_recall=self.request.target_recall,
            metric=self.vectors.metric,
            vector_type=self.vectors.codec.kind,
            dim=self.vectors.codec.dim,
            rows=self.rows.n_rows,
            vectors=None if self.numbers is None else self.vectors.n_rows,
            **quality,
            bytes_in_memory=self.choice.n_bytes,
            build={
                "seconds": round(seconds, 1),
                "peak_bytes_of_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
            },
            n_train=self.n_train,
            trained_for=self.there.trained_for if self.there else self.vectors.n_rows,
            trained_parts=self.there.trained_parts if self.there else len(self.vectors.parts),
            snapshot=self.snapshot.number,
            space=space,
            parts=in_order(self.vectors.parts),
            missed=self.turn.told(below=quality["recall"]["10"] < self.request.target_recall),
            files={},
            sha256="",
        )
