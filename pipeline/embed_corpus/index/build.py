"""Build the index of a snapshot: chosen, trained on a sample, added to run by run, measured, put in place."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import resource
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.errors import OutputError, UsageError
from embed_corpus.index.check import check_gpu, check_indexable, check_room, empty_index, gpus, on_gpus, usable
from embed_corpus.index.choose import Choice, Request, choose
from embed_corpus.index.effort import inverted
from embed_corpus.index.files import IVF_DATA, finish, read_index, settle, told, write_index
from embed_corpus.index.ids import write_ids
from embed_corpus.index.lists import RUN_ROWS, OldLists, Run, Source, code_run, into_file, into_memory
from embed_corpus.index.manifest import check_parts, parts_of
from embed_corpus.index.quality import measure, truth_of
from embed_corpus.index.rows import Vectors, open_vectors, space_of
from embed_corpus.index.sample import HELD_OUT, Draw, draw
from embed_corpus.index.seconds import predicted_seconds
from embed_corpus.report.steps import steps
from embed_corpus.sink.commit import alone_on, attempt, replace
from embed_corpus.sink.snapshot import latest_snapshot

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from embed_corpus.sink.layout import Layout
    from embed_corpus.sink.snapshot import Snapshot

__all__ = ["build_index"]

log = logging.getLogger("embed_corpus")

_GROWN = 2
"""An index grows to so many times the rows that it was trained for; then it is trained anew."""


def build_index(
    layout: Layout,
    snapshot: Snapshot,
    request: Request,
    *,
    similarity: str,
    normalized: bool,
    stream: TextIO | None = None,
) -> dict[str, Any] | None:
    """Build the index of a snapshot, unless it is there, and return its index.json; None without vectors.

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
    with alone_on(layout.indexing, wait="waiting for another process that builds the index"):
        finish(layout)
        newest = latest_snapshot(layout)  # another process may have built of a later one meanwhile
        if newest and newest.number > snapshot.number:
            snapshot = newest
        return _built(layout, snapshot, request, similarity=similarity, normalized=normalized, stream=stream)


def _built(
    layout: Layout, snapshot: Snapshot, request: Request, *, similarity: str, normalized: bool, stream: TextIO | None
) -> dict[str, Any]:
    """Build what is not there, alone."""
    check_gpu(request)
    space = space_of(layout, snapshot.parts[0].name)
    there = usable(layout, snapshot, request, space)
    if there and len(there["parts"]) == len(snapshot.parts):
        return there
    old = parts_of(there) if there else {}
    named = {part.name: part for part in snapshot.parts}
    parts = [
        *(named[n] for n in old if n in named),
        *(p for p in snapshot.parts if p.name not in old),
    ]
    check_parts(layout, parts)
    vectors = open_vectors(layout, parts, similarity, normalized=normalized)
    check_indexable(similarity, request, vectors.codec.dim, binary=vectors.binary)
    choice = choose(vectors.n_rows, vectors.codec.dim, request, binary=vectors.binary)
    if there and (
        there["family"] != choice.family or (there["trained_for"] * _GROWN < vectors.n_rows and choice.n_lists)
    ):
        there = None
    if there:
        held = int(there["files"]["index.faiss"]["bytes"])
        choice = choose(vectors.n_rows, vectors.codec.dim, request, binary=vectors.binary, held=held)
    build = _Build(layout, snapshot, vectors, choice, request, there, stream)
    try:
        return build.run(space)
    except RuntimeError as error:
        raise UsageError(
            f"an index of type {build.factory} cannot be built here ({told(error)}): take --type auto."
        ) from error


@dataclass
class _Build:
    """One build: `there` is the manifest of the index to extend, if any."""

    layout: Layout
    snapshot: Snapshot
    vectors: Vectors
    choice: Choice
    request: Request
    there: dict[str, Any] | None
    stream: TextIO | None

    def __post_init__(self) -> None:
        about = {
            "factory": self.choice.factory,
            "n_train": self.choice.n_train,
            "parts": [[part.name, part.sha256] for part in self.vectors.parts],
            "old": self.there["files"] if self.there else {},
        }
        self.work = self.layout.indexing / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:20]
        self.begin = int(self.there["rows"]) if self.there else 0
        self.n_train = int(self.there["n_train"]) if self.there else self.choice.n_train
        self.factory = str(self.there["type"]) if self.there else self.choice.factory

    def run(self, space: str) -> dict[str, Any]:
        """Do it all; returns index.json."""
        started = time.perf_counter()
        self._tell()
        for other in self.layout.indexing.iterdir():
            if other != self.work:
                shutil.rmtree(other, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)
        for killed in self.work.glob(f"*.{'[0-9a-f]' * 32}"):
            killed.unlink()
        check_room(self.work, self.choice, self.vectors.n_rows, self.begin)
        index = self._old() if self.there else self._trained()
        with attempt(self.work, IVF_DATA) as lists, attempt(self.work, "index.faiss") as file:
            on_disk = self._filled(index, lists)
            quality = self._measured(index)
            if on_disk is not None:
                on_disk.filename = IVF_DATA
            write_index(index, file)
            with attempt(self.work, "ids.arrow") as ids:
                write_ids(self.vectors, ids)
                made = {"index.faiss": file, "ids.arrow": ids} | ({} if on_disk is None else {IVF_DATA: lists})
                manifest = self._manifest(space, quality, time.perf_counter() - started)
                settle(made, manifest, self.work)
        finish(self.layout)
        return manifest

    def _tell(self) -> None:
        seconds = predicted_seconds(self.vectors.n_rows, self.vectors.codec.dim, self.choice, self.begin)
        log.info(
            "%s %s of %s vectors: %s. About %.1f GiB of memory%s, %.0f s",
            "extending the index" if self.there else "building an index",
            self.factory,
            f"{self.vectors.n_rows:,}",
            f"{self.begin:,} are in it" if self.there else self.choice.why,
            self.choice.peak / (1 << 30),
            f", {self.choice.n_bytes / (1 << 30):.1f} GiB of lists on disk" if self.choice.on_disk else "",
            seconds,
        )

    def _draw(self) -> Draw:
        """The sample of the parts that the index was trained on."""
        if not self.there:
            return draw(self.vectors, self.n_train)
        trained_on = self.vectors.parts[: int(self.there["trained_parts"])]
        return draw(Vectors(self.layout, trained_on, self.vectors.codec, self.vectors.scaled), self.n_train)

    def _old(self) -> Any:
        return read_index(self.layout.index / "index.faiss", binary=self.vectors.binary)

    def _trained(self) -> Any:
        """Train on the sample, or read what was trained before a kill."""
        file = self.work / "trained.faiss"
        if file.exists():
            try:
                return read_index(file, binary=self.vectors.binary)
            except OutputError as error:
                log.warning("%s That is done now.", error)
                for made in self.work.iterdir():
                    made.unlink()
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

    def _measured(self, index: Any) -> dict[str, Any]:
        """Search what was never trained on, exactly and through the index; say so if that is not good enough."""
        own = self._draw().held_out
        if self.there and (n_new := HELD_OUT * (self.vectors.n_rows - self.begin) // self.vectors.n_rows):
            dice = np.random.default_rng(self.begin)
            fresh = dice.choice(self.vectors.n_rows - self.begin, n_new) + self.begin
            own = np.unique(np.concatenate([dice.choice(own, max(len(own) - n_new, 1), replace=False), fresh]))
        log.info("searching %s held-out vectors, exactly and through the index", f"{len(own):,}")
        blocks = steps(self.vectors.blocks(), self.vectors.n_rows, lambda b: len(b[1]), "searching", self.stream)
        truth = truth_of(blocks, self.vectors.take(own), own)
        quality = measure(index, truth, self.request.target_recall)
        log.info(
            "recall@10 %.3f (@1 %.3f, @100 %.3f), %s queries/s on one thread",
            *(quality["recall"][k] for k in ("10", "1", "100")),
            f"{quality['queries_per_second']['batch_on_one_thread']:,}",
        )
        if quality["recall"]["10"] < self.request.target_recall:
            floats = not re.search(r"SQ|PQ|PCA", self.factory)
            log.warning(
                "recall@10 is %.3f, below --target-recall %s: more effort gives hardly more with this type. Take %s",
                quality["recall"]["10"],
                self.request.target_recall,
                "--type ivf, or flat (exact)" if floats else "--type ivf --target-recall 0.99, which keeps floats",
            )
        return quality

    def _manifest(self, space: str, quality: dict[str, Any], seconds: float) -> dict[str, Any]:
        starts = np.cumsum([0, *(part.counts.chunks for part in self.vectors.parts)]).tolist()
        parts = zip(self.vectors.parts, starts, strict=False)
        return {
            "type": self.factory,
            "family": self.choice.family,
            "asked": self.request.type,
            "target_recall": self.request.target_recall,
            "metric": self.vectors.metric,
            "vector_type": self.vectors.codec.kind,
            "dim": self.vectors.codec.dim,
            "rows": self.vectors.n_rows,
            **quality,
            "bytes_in_memory": self.choice.n_bytes,
            "build": {
                "seconds": round(seconds, 1),
                "peak_bytes_of_process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
            },
            "n_train": self.n_train,
            "trained_for": self.there["trained_for"] if self.there else self.vectors.n_rows,
            "trained_parts": self.there["trained_parts"] if self.there else len(self.vectors.parts),
            "snapshot": self.snapshot.number,
            "space": space,
            "parts": [{"name": p.name, "sha256": p.sha256, "first_row": first} for p, first in parts],
        }
