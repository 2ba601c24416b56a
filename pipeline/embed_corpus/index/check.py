"""What has to hold before an index is built, and whether there is one already."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import OutputError, UsageError
from embed_corpus.index.effort import inner
from embed_corpus.index.files import told
from embed_corpus.index.manifest import check_files, read_manifest
from embed_corpus.store.workshop import bytes_in, free_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embed_corpus.index.choose import Choice, Request
    from embed_corpus.index.schema import IndexRecord
    from embed_corpus.sink.snapshot import Snapshot
    from embed_corpus.store.layout import Layout

__all__ = [
    "check_faiss",
    "check_gpu",
    "check_indexable",
    "check_room",
    "empty_index",
    "gpus",
    "on_gpus",
    "threads_for",
    "usable",
]

log = logging.getLogger("embed_corpus")

_FEW_TO_TRAIN = 25_000
_NAMES = {"auto", "flat", "hnsw", "ivf", "ivfpq"}


def check_indexable(similarity: str, request: Request, dim: int, *, binary: bool = False) -> None:
    """Check that an index can be built at all: before the first batch, not after the last.

    Raises:
        UsageError: faiss is not installed, the model compares by neither cosine nor dot product, FAISS does not
            know the type, or a GPU is wanted that it does not see.
    """
    check_faiss()
    if similarity not in {"cosine", "dot"}:
        raise UsageError(f"--index: the model compares by {similarity!r}; supported are cosine and dot.")
    check_gpu(request)
    if request.type not in _NAMES:
        try:
            empty_index(request.type, dim, binary=binary)
        except (RuntimeError, UsageError) as error:
            raise UsageError(
                f"--index {request.type}: neither {', '.join(sorted(_NAMES))} nor a FAISS factory string for "
                f"{dim} dimensions: {told(error)}"
            ) from error


def check_faiss() -> None:
    """Check that FAISS is installed: before a model is loaded.

    Raises:
        UsageError: it is not.
    """
    try:
        importlib.import_module("faiss")
    except ImportError as error:  # a broken one is as good as none
        raise UsageError(
            "an index needs faiss, which is not installed or cannot be loaded: pip install 'embed-corpus[index]'."
        ) from error


def check_gpu(request: Request) -> None:
    """Check that there is a GPU where one is wanted.

    Raises:
        UsageError: FAISS sees none.
    """
    if request.gpu == "on" and not gpus():
        raise UsageError("--gpu on: FAISS sees no GPU: pip install faiss-gpu in place of faiss-cpu, or --gpu auto.")


def check_room(folder: Path, choice: Choice, vectors: int, begin: int, rows: int) -> None:
    """Check that the disk holds what a build writes into `folder` for all `vectors`, of which `begin` are coded.

    That is the index itself, beside the one in use, 64 bytes of ids a row or so, 16 more of `rows` that share a vector,
    and the runs until they are merged.

    Raises:
        OutputError: it does not, and how much it takes.
    """
    there = bytes_in(folder, "run-*")
    runs = (vectors - begin) * (choice.n_bytes // vectors + 4) if choice.in_runs else 0
    need = choice.n_bytes + (64 if vectors == rows else 80) * rows + max(runs - there, 0)
    free = free_bytes(folder)
    if free is not None and need > free:
        raise OutputError(
            f"{folder} has {free >> 20:,} MiB free, building {choice.factory} there needs about {need >> 20:,} MiB: "
            "make room, or take codes that are smaller, e.g. --type ivfpq."
        )


def usable(layout: Layout, snapshot: Snapshot, request: Request, space: str) -> IndexRecord | None:
    """Return the manifest of an undamaged index of all or some of the parts, asked for alike; else None.

    Its files are read whole, 1.2 GB/s on one core: what has the size and the header of an index may still
    find wrong rows, and would do so until someone runs `verify`.
    """
    try:
        manifest = read_manifest(layout)
        if manifest is None:
            return None
        parts = {part.name: part.sha256 for part in snapshot.parts}
        same = (manifest.asked, manifest.target_recall) == (request.type, request.target_recall)
        known = manifest.checksums.items() <= parts.items()
        if not (same and known and manifest.space == space):
            return None
        check_files(layout, manifest, whole=True)
    except OutputError as error:
        log.warning("%s That is done now.", error)
    else:
        return manifest
    return None


def gpus() -> int:
    """Return how many GPUs FAISS sees; none with faiss-cpu, or without it."""
    if importlib.util.find_spec("faiss") is None:
        return 0
    import faiss

    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def on_gpus(quantizer: Any) -> Any:
    """Put what finds lists on all GPUs; of a graph, which FAISS has on none, the exact search that lies below it."""
    import faiss

    found = faiss.downcast_index(quantizer)
    if isinstance(found, faiss.IndexHNSWFlat):
        found = faiss.downcast_index(found.storage)
    return faiss.index_cpu_to_all_gpus(found) if isinstance(found, faiss.IndexFlat) else quantizer


@contextlib.contextmanager
def threads_for(n_train: int) -> Iterator[None]:
    """Train on few vectors by one thread: several wait for each other in each round of each small k-means, which took
    minutes on a machine that others use.
    """  # noqa: D205
    import faiss

    threads = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(1 if n_train < _FEW_TO_TRAIN else threads)
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def empty_index(factory: str, dim: int, *, binary: bool) -> Any:
    """Return an index to be trained.

    Raises:
        UsageError, RuntimeError: FAISS does not know the factory string.
    """
    import faiss

    if factory.startswith("B") != binary:
        raise UsageError(f"the vectors are {'ubinary' if binary else 'floats'}, {factory} is not for them.")
    if binary:
        return faiss.index_binary_factory(dim, factory)
    index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    found = inner(index)
    if hasattr(found, "do_polysemous_training"):  # 2 s a sub-quantiser, for a kind of search that is not used here
        found.do_polysemous_training = False
    if hasattr(found, "pq"):  # else a line on standard error for each; too low a recall is told by itself
        found.pq.cp.min_points_per_centroid = 1
    if isinstance(index, faiss.IndexLattice | faiss.IndexIDMap):
        raise UsageError(f"{type(index).__name__} cannot be used: ids are row numbers here, and all is read back.")
    return index
