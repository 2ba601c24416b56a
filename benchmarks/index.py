"""Build and measure an index of a million vectors made of real ones, in bounded memory.

Why: "fits the machine, and tells how good it is" has to hold at a size where it matters. How: the vectors of an
OUT (texts embedded by a model) are mixed, three and three, with noise, to as many as asked for and written as parts;
then an index is built in a process of its own, whose peak memory the kernel tells.

    embed-corpus run data/samples/corpus real/ && python benchmarks/index.py real/ work/ --memory 8GB 1GB
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray

from embed_corpus.data import Counts
from embed_corpus.sink.layout import Layout
from embed_corpus.sink.parts import PartFormat, open_writer
from embed_corpus.sink.readback import stats_of, vectors_of
from embed_corpus.sink.snapshot import PartEntry, latest_snapshot, publish_snapshot

PART_ROWS = 50_000
NOISE = 0.35
"""Length of the noise beside the mixture's. (Mixtures of two, one outweighing, are clusters of a list each: easy.)"""


def mixed(real: NDArray[np.float32], n: int, seed: int) -> NDArray[np.float32]:
    """Return n unit vectors, each among three real ones, all shares as likely, with noise."""
    dice = np.random.default_rng(seed)
    pick = dice.integers(0, len(real), (3, n))
    shares = dice.dirichlet((1, 1, 1), n).astype(np.float32)
    vectors = sum(real[row] * share[:, None] for row, share in zip(pick, shares.T, strict=True))
    noise = dice.normal(size=vectors.shape)
    noise *= NOISE * np.linalg.norm(vectors, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    vectors = vectors + noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def write(layout: Layout, real: NDArray[np.float32], n: int) -> None:
    """Write the parts and their snapshot."""
    form = PartFormat(real.shape[1], "float32", {}, False, {"space": {"hash": "mixed"}}, True)
    layout.data.mkdir(parents=True)
    parts = []
    for first in range(0, n, PART_ROWS):
        vectors = mixed(real, PART_ROWS, first)
        rows = np.arange(first, first + PART_ROWS)
        columns = {
            "doc_id": pa.array(rows).cast(pa.string()),
            "chunk_index": rows * 0,
            "char_start": rows * 0,
            "char_end": rows * 0,
            "n_tokens": rows * 0,
            "content_hash": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(16), PART_ROWS, [None, pa.py_buffer(bytes(16 * PART_ROWS))]
            ),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), real.shape[1]),
        }
        table = pa.table([pa.array(columns[f.name], f.type) for f in form.schema], schema=form.schema)
        file = layout.data / f"mixed-{first:08d}.parquet"
        with open_writer(file, form.schema) as writer:
            writer.write_table(table, row_group_size=10_922)
        counts = Counts(rows=PART_ROWS, documents=PART_ROWS, chunks=PART_ROWS)
        stats = stats_of(file, counts)
        parts.append(PartEntry(file.name, counts, stats["bytes"], stats["sha256"]))
    publish_snapshot(layout, parts)


BUILD = """
import json, logging, sys
from pathlib import Path
from embed_corpus.index.build import build_index
from embed_corpus.index.choose import Request, parse_bytes
from embed_corpus.sink.layout import Layout
from embed_corpus.sink.snapshot import latest_snapshot
logging.basicConfig(level=logging.INFO, format="%(message)s")
logging.getLogger("faiss").setLevel(logging.WARNING)
layout = Layout(Path(sys.argv[1]))
request = Request(sys.argv[2], parse_bytes(sys.argv[3]))
made = build_index(layout, latest_snapshot(layout), request, similarity="cosine", normalized=True)
made.pop("parts")
print(json.dumps(made))
"""


def built(layout: Layout, kind: str, memory: str) -> dict:
    """Build in a fresh process; returns index.json without its parts."""
    begin = time.perf_counter()
    command = [sys.executable, "-c", BUILD, str(layout.root), kind, memory]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    made = json.loads(done.stdout.splitlines()[-1])
    peak = made["build"]["peak_bytes_of_process"]
    print(
        f"{memory:>6} {made['type']:<14} {made['build']['seconds']:>6.0f} s  peak {peak / 2**30:.2f} GiB  recall "
        f"{made['recall']}  {made['effort']}  {made['queries_per_second']}  load {os.getloadavg()[0]:.1f}"
    )
    return made | {"wall": time.perf_counter() - begin}


def main() -> None:
    """Make the vectors unless they are there, build with each memory, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path, help="an OUT of real texts")
    parser.add_argument("work", type=Path, help="a folder for the vectors")
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--type", default="auto")
    parser.add_argument("--memory", nargs="+", default=["8GB", "1GB"])
    args = parser.parse_args()
    layout = Layout(args.work.absolute())
    if latest_snapshot(layout) is None:
        shutil.rmtree(layout.root, ignore_errors=True)
        write(layout, vectors_of(ds.dataset(args.real / "data").to_table()["embedding"]), args.vectors)
    results, ids = [], []
    for memory in args.memory:
        shutil.rmtree(layout.index, ignore_errors=True)
        results.append(built(layout, args.type, memory))
        ids.append(results[-1]["files"]["ids.arrow"]["sha256"])
    print("the same ids:", len(set(ids)) == 1)
    print(json.dumps([{k: v for k, v in r.items() if k != "files"} for r in results]))


if __name__ == "__main__":
    main()
