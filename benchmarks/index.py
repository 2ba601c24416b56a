"""Build and measure indexes of a million vectors, ours and autofaiss', each in a process of its own.

Why: "fits the machine, and tells how good it is" has to hold at size, and beside others. How: an OUT's vectors are
mixed, three and three, with noise, to as many as asked for (`--vectors 0`: as they are). Every index is built by a
fresh process (its peak memory is the kernel's), and measured with the same held-out vectors. `taskset` sets the cores.

    embed-corpus run data/samples/corpus real/ && taskset -c 0,1 python benchmarks/index.py real/ work/ --peer autofaiss
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import re
import resource
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embed_corpus.data import Counts
from embed_corpus.index.build import build_index
from embed_corpus.index.choose import Request, choose, parse_bytes
from embed_corpus.index.effort import effort_of
from embed_corpus.index.graph import taken_out
from embed_corpus.index.quality import Truth, measure, queries_per_second, recall_at, searched_others, truth_of
from embed_corpus.index.rows import Vectors, open_vectors
from embed_corpus.index.sample import draw
from embed_corpus.sink.parts import PartFormat, open_writer
from embed_corpus.sink.readback import stats_of
from embed_corpus.sink.snapshot import PartEntry, latest_snapshot, publish_snapshot
from embed_corpus.store.layout import Layout

PART_ROWS = 50_000
NOISE = 0.35
"""Length of the noise beside the mixture's. (Mixtures of two, one outweighing, are clusters of a list each: easy.)"""
STAGES = {"training on": "training", "merging": "merging", "searching": "measuring", "recall@10": "writing"}
"""How a line of our builder's log begins, and what begins there; `adding` begins when the trained index is there."""
PEER_STAGES = {"-> Training": "training", "-> Adding": "adding", "Computing": "tuning", "Compute fast": "measuring"}


def mixed(real: NDArray[np.float32], n: int, seed: int) -> NDArray[np.float32]:
    """Return n unit vectors, each among three real ones, all shares as likely, with noise."""
    dice = np.random.default_rng(seed)
    pick = dice.integers(0, len(real), (3, n))
    shares = dice.dirichlet((1, 1, 1), n).astype(np.float32)
    vectors = sum(real[row] * share[:, None] for row, share in zip(pick, shares.T, strict=True))
    noise = dice.standard_normal(vectors.shape, np.float32)
    noise *= NOISE * _lengths(vectors) / _lengths(noise)
    vectors += noise
    vectors /= _lengths(vectors)
    return vectors


def _lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]


def opened(layout: Layout, *, normalized: bool = True) -> Vectors:
    """Open the vectors of an OUT's snapshot."""
    return open_vectors(layout, latest_snapshot(layout).parts, "cosine", normalized=normalized)


def write(layout: Layout, real: NDArray[np.float32], n: int) -> None:
    """Write n mixed vectors, or the real ones if n is 0, as parts and their snapshot: the same with any threads."""
    form = PartFormat(real.shape[1], "float32", {}, False, {"space": {"hash": "mixed"}}, True)
    layout.store.local(layout.data).mkdir(parents=True)

    def part(first: int) -> PartEntry:
        n_rows = min(PART_ROWS, (n or len(real)) - first)
        vectors = mixed(real, n_rows, first) if n else real[first : first + n_rows]
        rows = np.arange(first, first + n_rows)
        hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n_rows, [None, pa.py_buffer(bytes(16 * n_rows))])
        columns = {f.name: rows * 0 for f in form.schema} | {
            "doc_id": pa.array(rows).cast(pa.string()),
            "content_hash": hashes,
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), real.shape[1]),
        }
        table = pa.table([pa.array(columns[f.name], f.type) for f in form.schema], schema=form.schema)
        file = layout.store.local(layout.data / f"mixed-{first:08d}.parquet")
        with open_writer(file, form.schema) as writer:
            writer.write_table(table, row_group_size=10_922)
        counts = Counts(rows=n_rows, documents=n_rows, chunks=n_rows)
        with file.open("rb") as made:
            stats = stats_of(made, counts)
        return PartEntry(file.name, counts, stats["bytes"], stats["sha256"])

    with ThreadPoolExecutor(_cores()) as threads:
        publish_snapshot(layout, list(threads.map(part, range(0, n or len(real), PART_ROWS))))


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _peak() -> int:
    """Peak bytes in memory since this program began: ru_maxrss would count what its parent held when it forked."""
    told = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf8"))
    return (int(told[1]) if told else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) << 10


class Marks(logging.Handler):
    """When each stage of a build began: told by its log, and by the trained index in `work`."""

    def __init__(self, stages: dict[str, str], work: Path) -> None:
        super().__init__()
        self.stages, self.work, self.began = stages, work, {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note the time if a stage begins."""
        line = record.getMessage().strip()
        for stage in [stage for begin, stage in self.stages.items() if line.startswith(begin)]:
            self.began.setdefault(stage, time.time())
            for file in self.work.glob("*/trained.faiss"):
                self.began["adding"] = file.stat().st_mtime

    def seconds(self) -> dict[str, float]:
        """Return how long each stage took, in order; the last one until now."""
        marks = sorted((began, stage) for stage, began in self.began.items())
        ends = [began for began, _ in marks[1:]] + [time.time()]
        return {stage: round(end - began, 1) for (began, stage), end in zip(marks, ends, strict=True)}


def _facts(who: str, memory: str, index_type: str, gpu: str) -> dict[str, Any]:
    import faiss

    gpus = faiss.get_num_gpus() if gpu != "off" and hasattr(faiss, "StandardGpuResources") else 0
    facts = {"who": who, "memory": memory, "type": index_type, "cores": _cores(), "gpu": gpu, "gpus": gpus}
    return facts | {"faiss": faiss.__version__}


def ours(root: Path, case: Path, memory: str, options: argparse.Namespace) -> dict[str, Any]:
    """Build the index of `root`'s vectors with our builder, in `case`; a process of its own calls this."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("faiss").setLevel(logging.WARNING)
    layout = Layout(case)
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir(parents=True)
    layout.store.local(layout.data).symlink_to(root / "data")
    snapshot = publish_snapshot(layout, latest_snapshot(Layout(root)).parts)
    marks = Marks(STAGES, layout.store.local(layout.indexing))
    logging.getLogger("embed_corpus").addHandler(marks)
    request = Request(options.type, parse_bytes(memory), options.target_recall, options.gpu)
    made = build_index(layout, snapshot, request, similarity="cosine", normalized=True).to_json()
    return _facts("ours", memory, made["type"], options.gpu) | {
        "seconds": made["build"]["seconds"],
        "stages": marks.seconds(),
        "peak": _peak(),
        "bytes": sum(facts["bytes"] for name, facts in made["files"].items() if name != "ids.arrow"),
        "ids": made["files"]["ids.arrow"]["sha256"],
        **{key: made[key] for key in ("rows", "effort", "recall", "queries_per_second", "build", "n_train")},
    }


def autofaiss(root: Path, case: Path, memory: str, options: argparse.Namespace) -> dict[str, Any]:
    """Build autofaiss' own choice in `case`; a process of its own calls this.

    It is given the vectors in one .npy file, the held-out ones last: it trains on the first ones, so that, as with
    ours, they are in the index but not in the sample (unless it trains on all). `memory` bounds its index, as its
    documentation says; to build it may take a ninth more, or what it says it needs, whichever is more.
    """
    (case / "vectors").mkdir(parents=True, exist_ok=True)
    vectors = opened(Layout(root))
    request = Request(options.type, parse_bytes(memory), options.target_recall)
    own = draw(vectors, choose(vectors.n_rows, vectors.codec.dim, request).n_train).held_out  # as our builder does
    asked = truth_of(vectors.blocks(), vectors.take(own), own)
    last = np.isin(np.arange(vectors.n_rows), own)
    place = np.argsort(np.argsort(last, kind="stable"))  # where a row stands in the file
    asked = replace(asked, own=place[own], rows=place[asked.rows])
    shape = (vectors.n_rows, vectors.codec.dim)
    file = np.lib.format.open_memmap(case / "vectors" / "all.npy", "w+", np.float32, shape)
    for first, block in vectors.blocks():
        file[place[first : first + len(block)]] = block
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_autofaiss, case, memory, asked, shape, options.target_recall).result()


def _autofaiss(case: Path, memory: str, asked: Truth, shape: tuple[int, int], target: float) -> dict[str, Any]:
    import autofaiss as peer
    import faiss
    from autofaiss.external.build import estimate_memory_required_for_index_creation as estimate

    needed, _ = estimate(*shape, max_index_memory_usage=memory)
    available = int(max(parse_bytes(memory) / 0.89, 1.01 * needed))
    marks = Marks(PEER_STAGES, case)
    logging.getLogger("autofaiss").addHandler(marks)
    begin = time.perf_counter()
    index, infos = peer.build_index(
        str(case / "vectors"),
        save_on_disk=False,  # it writes figures of NumPy 2's as JSON, and fails
        max_index_memory_usage=memory,
        current_memory_available=f"{available}B",
        metric_type="ip",
        nb_cores=_cores(),
    )
    marks.began["writing"] = time.time()
    faiss.write_index(index, str(case / "knn.index"))
    facts = _facts("autofaiss", memory, infos["index_key"], "off") | {
        "seconds": round(time.perf_counter() - begin, 1),
        "stages": marks.seconds(),
        "peak": _peak(),
        "bytes": (case / "knn.index").stat().st_size,
        "rows": shape[0],
        "available": available,
    }
    faiss.omp_set_num_threads(_cores())
    as_it_is = _as_it_is(index, asked.half(1))
    tuned = facts | {"who": "… tuned as ours", "stages": {}} | measure(index, asked, target)
    return facts | as_it_is | {"tuned": tuned}


def _as_it_is(index: Any, asked: Truth) -> dict[str, Any]:
    """Return what `measure` does, of an index as it is set."""
    import faiss

    with taken_out(index, asked.own) as out:
        asked, effort = asked.apart() if out else asked, effort_of(index)
        found = {k: searched_others(index, asked, k) for k in (10, 100)}
    faiss.omp_set_num_threads(1)
    alone, batch = (queries_per_second(index, asked.queries, n) for n in (1, len(asked.queries)))
    faiss.omp_set_num_threads(_cores())
    return {
        "effort": {effort.name: effort.value} if effort else {},
        "recall": {str(k): round(recall_at(asked, found[max(k, 10)], k), 4) for k in (1, 10, 100)},
        "queries_per_second": {"one_by_one_on_one_thread": alone, "batch_on_one_thread": batch},
    }


HEAD = ["", "memory", "cores, GPU", "type", "vectors", "seconds", "of them", "peak GiB", "MiB", "recall@1 / 10 / 100"]
HEAD += ["queries/s on one thread: one by one, batch", "effort"]


def show(results: list[dict[str, Any]]) -> None:
    """Print results as a table in Markdown, and whether all of ours have the same ids."""
    print(f"\n| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|")
    for r in (row for result in results for row in (result, result.get("tuned")) if row):
        stages = ", ".join(f"{stage} {seconds}" for stage, seconds in r["stages"].items())
        recall = " / ".join(f"{r['recall'][k]:.3f}" for k in ("1", "10", "100"))
        speed = ", ".join(f"{r['queries_per_second'][f'{how}_on_one_thread']:,}" for how in ("one_by_one", "batch"))
        effort = " ".join(f"{name} {value}" for name, value in r["effort"].items())
        cells = r["who"], r["memory"], f"{r['cores']}, {r['gpus']}", r["type"], f"{r['rows']:,}", r["seconds"], stages
        size = f"{r['peak'] / 2**30:.2f}", r["bytes"] >> 20
        print("| " + " | ".join(map(str, (*cells, *size, recall, speed, effort))) + " |")
    ids = {(r["rows"], r["ids"]) for r in results if "ids" in r}
    print(f"\nours of the same vectors have the same ids: {len(ids) == len({rows for rows, _ in ids})}")


def main() -> None:
    """Make the vectors unless they are there, build with each memory, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path, help="an OUT of real texts")
    parser.add_argument("work", type=Path, help="a folder for the vectors and the indexes")
    parser.add_argument("--vectors", type=int, default=1_000_000, help="0: those of REAL, as they are")
    parser.add_argument("--type", default="auto")
    parser.add_argument("--memory", nargs="*", default=["8GB", "1GB"], help="none: just make the vectors")
    parser.add_argument("--target-recall", type=float, default=0.95)
    parser.add_argument("--gpu", choices=["auto", "on", "off"], default="auto")
    parser.add_argument("--peer", choices=["autofaiss"], help="build what it chooses, too")
    parser.add_argument("--no-ours", action="store_true", help="the peer alone")
    parser.add_argument("--json", type=Path, help="a file for all figures, written after each build")
    options = parser.parse_args()
    layout = Layout(options.work.absolute())
    rows = options.vectors or latest_snapshot(Layout(options.real)).counts.chunks
    begin = time.perf_counter()
    if (there := latest_snapshot(layout)) is None:
        shutil.rmtree(layout.root, ignore_errors=True)
        blocks = [block for _, block in opened(Layout(options.real), normalized=False).blocks()]
        write(layout, np.concatenate(blocks), options.vectors)
        print(f"{rows:,} vectors made in {time.perf_counter() - begin:.1f} s on {_cores()} cores")
    elif there.counts.chunks != rows:
        parser.error(f"{options.work} holds {there.counts.chunks:,} vectors: name another folder, or delete it")
    builders = [b for b, wanted in ((ours, not options.no_ours), (autofaiss, options.peer)) if wanted]
    results, cases = [], list(product(builders, options.memory))
    for build, memory in cases:
        case = layout.root / f"{build.__name__}-{memory}-{options.gpu}"
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            done = fresh.submit(build, layout.root, case, memory, options)
        if error := done.exception():
            print(f"{case.name}: {type(error).__name__}: {error}\n{error.__cause__ or ''}")
            continue
        results.append(done.result() | {"load": os.getloadavg()[0], "command": sys.argv[1:]})
        if options.json:
            options.json.write_text(json.dumps(results), encoding="utf8")
    if results:
        show(results)
    sys.exit(len(results) < len(cases))


if __name__ == "__main__":
    main()
