"""Files in, files out: the installed command beside its own engine, and beside sentence-transformers.

Why: users see files, not forward passes. How: the corpus is multiplied (copies of one Parquet file) until
a run lasts `--seconds`, a short run before it does not count (kernels are built, budgets measured). Tokens/s
are those of the run report: from the moment the first worker is ready to the last commit; start-up is told apart.

For each model: tokens/s end to end; the engine alone on the same chunks (`benchmarks/engine.py`'s way, same
session) and the ratio; the GPU's share of the time at work, by its own clock and by the driver; share of the
card's matrix rate; peak resident memory of parent, worker and loader processes.

`--isolate` runs one worker in this process: "source" repeats blocks that are chunked already, so that reading
and tokenising cost nothing; "sink" drops the vectors, so that writing costs nothing.

`--peer` gives the same chunks as texts to sentence-transformers (its multi-process pool where there are several
GPUs), Parquet in, Parquet out; it is spared the chunking.

Prints a table and one JSON line. Results with hardware and date: LOG.md.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psutil
import pyarrow.dataset as ds
import pyarrow.parquet as pq

Row = dict[str, Any]


def model_of(name: str, options: argparse.Namespace, root: Path) -> Path:
    """Return a model folder with weights: MiniLM's own, random ones for the others."""
    from embed_corpus.engine.load import DTYPES
    from embed_corpus.model.facts import read_facts
    from engine import make_folder, random_model

    folder = make_folder(name, options.configs, options.minilm, root)
    if name != "minilm":
        kind = DTYPES["fp16" if name == "bge-base" else "bf16"]
        random_model(read_facts(folder), kind, options.device).save_pretrained(folder)
    return folder


def copies(corpus: Path, folder: Path, n: int) -> Path:
    """Make a folder of n copies of a Parquet file."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        if not (folder / f"{i:04}.parquet").exists():
            os.link(corpus, folder / f"{i:04}.parquet")
    return folder


class Peaks:
    """Samples the resident memory of a process and its descendants, MiB at most: parent, worker, loaders together."""

    def __init__(self, pid: int) -> None:
        self.peaks = {"parent": 0, "worker": 0, "loaders": 0}
        self._stop = Event()
        self._thread = Thread(target=self._sample, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def stop(self) -> dict[str, int]:
        """End sampling."""
        self._stop.set()
        self._thread.join()
        return self.peaks

    def _sample(self, parent: psutil.Process) -> None:
        while not self._stop.wait(0.2):
            try:
                workers = parent.children()
                loaders = [c.memory_info().rss for w in workers for c in w.children()]
                seen = (parent.memory_info().rss, max((w.memory_info().rss for w in workers), default=0), sum(loaders))
            except psutil.NoSuchProcess:
                continue
            for name, rss in zip(self.peaks, seen, strict=True):
                self.peaks[name] = max(self.peaks[name], rss >> 20)


def run(corpus: Path, out: Path, model: Path, options: argparse.Namespace, *more: str) -> Row:
    """Run the command; its report, with the wall seconds and the memory."""
    command = ["run", corpus, out, "--model", model, "--devices", options.devices, "--quiet", *options.run, *more]
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "embed_corpus", *map(str, command)])
    peaks = Peaks(process.pid)
    if process.wait():
        raise SystemExit(f"the run ended with {process.returncode}")
    wall = time.perf_counter() - begin
    (report,) = (out / "_embed" / "runs").iterdir()
    seen: Row = json.loads(report.read_text())
    print(f"{out.name}: {wall:.1f} s, {seen['elapsed']:.1f} s of them from ready to done", file=sys.stderr, flush=True)
    return seen | {"wall": wall, "mib": peaks.stop()}


def end_to_end(name: str, model: Path, options: argparse.Namespace, root: Path) -> Row:
    """Run until it lasts long enough; what the last run gave."""
    few = pq.read_table(options.corpus).slice(0, 100)
    (root / "warm").mkdir(exist_ok=True)
    pq.write_table(few, root / "warm" / "few.parquet")
    run(root / "warm", root / f"{name}-warm", model, options)
    n = options.copies
    while True:
        out = root / f"{name}-out"
        seen = run(copies(options.corpus, root / f"in-{n}", n), out, model, options, *options.keep)
        if seen["elapsed"] >= options.seconds or options.copies > 1:
            break
        shutil.rmtree(out)
        n = max(n + 1, int(n * 1.2 * options.seconds / seen["elapsed"]) + 1)
    workers = seen["workers"]
    return {
        "model": name, "devices": len(workers), "copies": n, "seconds": round(seen["elapsed"], 1),
        "tokens_per_s": round(seen["fresh"]["tokens"] / seen["elapsed"]),
        "before_s": round(seen["wall"] - seen["elapsed"], 1),
        "busy": [round(w["busy"] / w["elapsed"], 3) for w in workers],
        "driver": [w["utilization"] for w in workers],
        "of_matrix_rate": [w["matrix_rate"] and round(w["flops_per_s"] / w["matrix_rate"], 3) for w in workers],
        "stages": [w["seconds"] for w in workers], "loaders": [w["loaders"] for w in workers],
        "lane": workers[0]["lane"], "mib": seen["mib"], "verdict": seen["verdict"], "out": str(out),
    }  # fmt: skip


def engine_alone(model: Path, options: argparse.Namespace) -> float:
    """Return tokens/s of the encoder on chunks of the corpus, ids in host memory to vectors in host memory."""
    command = [sys.executable, "-m", "embed_corpus", "bench", options.corpus, "--model", model, "--json"]
    command += ["--devices", options.devices.split(",")[0], "--tokens", str(options.tokens), *options.run]
    begin = time.perf_counter()
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=True)
    print(f"engine alone: {time.perf_counter() - begin:.1f} s", file=sys.stderr, flush=True)
    rate: float = json.loads(done.stdout.splitlines()[-1])["tokens_per_s"]
    return rate


def isolated(kind: str, model: Path, options: argparse.Namespace, root: Path) -> float:
    """Return tokens/s of one worker in this process without its source's or without its sink's work."""
    import itertools

    from embed_corpus.data import Block
    from embed_corpus.engine.loaded import LoadedModel
    from embed_corpus.engine.ready import get_ready
    from embed_corpus.execution.loader import Loader
    from embed_corpus.execution.pipeline import Stages, embed_shards
    from embed_corpus.job.config import JobConfig
    from embed_corpus.job.prepare import prepare
    from embed_corpus.report.events import Embedded
    from embed_corpus.sink.null import NullSink
    from embed_corpus.sink.parts import PartWriter

    corpus = copies(options.corpus, root / "isolated-in", options.copies)
    job = prepare(JobConfig((str(corpus),), root / f"isolated-{kind}", str(model), devices=options.devices))
    model = LoadedModel(job.facts, job.devices[0], job.precision, job.recipe.longest)
    encoder, _, calibration = get_ready(model)
    tokens = 0

    class Repeat(Loader):
        def blocks(self, shards: Any) -> Any:
            some = list(itertools.islice(super().blocks(job.todo[:1]), 8))
            some = [block for block in some if isinstance(block, Block)]
            rate = calibration.rate if calibration else 5e3
            size = sum(int(block.chunks.n_tokens.sum()) for block in some)
            for _ in range(max(1, int(options.seconds * rate / size))):
                yield from (Block(job.todo[0], block.rows, block.chunks) for block in some)

    loader = (Repeat if kind == "source" else Loader)(job.recipe, job.config.columns, {}, options.loaders)
    sink = NullSink if kind == "sink" else PartWriter
    stages = Stages(loader, encoder, job.form, job.layout, "n", sink=sink)

    def count(event: Any) -> None:
        nonlocal tokens
        tokens += event.counts.tokens if isinstance(event, Embedded) else 0

    begin = time.perf_counter()
    embed_shards(job.todo, stages, count)
    taken = time.perf_counter() - begin
    loader.close()
    return tokens / taken


PEER = """
import sys, time, json
import pyarrow as pa, pyarrow.parquet as pq, pyarrow.dataset as ds
from sentence_transformers import SentenceTransformer
if __name__ == "__main__":
    source, out, model, precision, size, devices = sys.argv[1:]
    kind = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[precision]
    devices = devices.split(",")
    theirs = SentenceTransformer(model, device=devices[0], model_kwargs={"torch_dtype": kind})
    theirs.encode(["warm up " * 50] * int(size), batch_size=int(size))
    pool = theirs.start_multi_process_pool(devices) if len(devices) > 1 else None
    begin = time.perf_counter()
    table = ds.dataset(source).to_table(columns=["doc_id", "text"])
    texts = table["text"].to_pylist()
    vectors = theirs.encode(texts, batch_size=int(size), pool=pool)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype("float32").reshape(-1)), vectors.shape[1])
    pq.write_table(pa.table({"doc_id": table["doc_id"], "embedding": column}), out)
    print(json.dumps(time.perf_counter() - begin))
"""


def peer(model: Path, out: Path, options: argparse.Namespace, root: Path) -> dict[int, float]:
    """Return sentence-transformers' tokens/s by batch size, chunks as texts in Parquet to vectors in Parquet."""
    table = ds.dataset(out / "data").head(options.peer_texts, columns=["doc_id", "text", "n_tokens"])
    tokens = sum(table["n_tokens"].to_pylist())
    pq.write_table(table, root / "peer.parquet")
    precision = json.loads((out / "_embed" / "job.json").read_text())["fields"]["precision"]
    numbers = [d if d == "cpu" else f"cuda:{d}" for d in options.devices.split(",")]
    devices = ",".join(numbers) if options.devices != "all" else "cuda:0"
    script = root / "peer.py"  # a file: its pool's processes import it again
    script.write_text(PEER)
    rates = {}
    for size in options.peer:
        command = [sys.executable, script, root / "peer.parquet", root / "peer-out", model, precision, size, devices]
        done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True, check=True)
        rates[size] = round(tokens / float(done.stdout.splitlines()[-1]))
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["0.6B", "4B", "bge-base", "minilm"])
    parser.add_argument("--corpus", type=Path, required=True, help="Parquet file with a column `text`")
    parser.add_argument("--configs", type=Path, help="folder of the Qwen3-Embedding configurations")
    parser.add_argument("--minilm", type=Path, help="folder of MiniLM  [default: the demo extra's]")
    parser.add_argument("--devices", default="0", help="as of `run`: 0, or 0,1, or cpu")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the run lasts at least")
    parser.add_argument(
        "--copies", type=int, default=1, help="copies of the corpus to begin with; more than 1: as many"
    )
    parser.add_argument("--tokens", type=int, default=600_000, help="tokens of a pass of the engine alone")
    parser.add_argument("--isolate", nargs="*", choices=["source", "sink"], default=[])
    parser.add_argument("--loaders", type=int, default=8, help="loader processes with --isolate")
    parser.add_argument("--peer", type=int, nargs="+", default=[], help="batch sizes of sentence-transformers")
    parser.add_argument("--peer-texts", type=int, default=20_000)
    parser.add_argument("--no-engine", action="store_true", help="leave the engine alone out")
    parser.add_argument(
        "--run", nargs=argparse.REMAINDER, default=[], help="further options of `run` and `bench`, last"
    )
    options = parser.parse_args()
    options.device = "cpu" if options.devices == "cpu" else "cuda"
    options.keep = ["--keep-text"] if options.peer else []
    if options.minilm is None:
        from embed_corpus.model.folder import model_folder

        options.minilm = model_folder(None)
    rows = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        root = Path(folder)
        shutil.copy(options.corpus, root / "corpus.parquet")
        options.corpus = root / "corpus.parquet"
        for name in options.models:
            model = model_of(name, options, root)
            row = end_to_end(name, model, options, root)
            if not options.no_engine:
                row["engine"] = round(engine_alone(model, options))
                row["ratio"] = round(row["tokens_per_s"] / row["engine"] / row["devices"], 3)
            row |= {f"without_{kind}": round(isolated(kind, model, options, root)) for kind in options.isolate}
            if options.peer:
                row["sentence_transformers"] = peer(model, Path(row["out"]), options, root)
            print(json.dumps(row), flush=True)
            rows.append(row)
            shutil.rmtree(row["out"])
    heads = {"GPUs": 5, "tokens/s": 12, "of engine": 11, "busy": 7, "matrix": 8, "worker MiB": 12}
    print(f"\n{'model':<10}" + "".join(f"{head:>{width}}" for head, width in heads.items()) + "  verdict")
    for r in rows:
        share = r["of_matrix_rate"][0]
        print(
            f"{r['model']:<10}{r['devices']:>5}{r['tokens_per_s']:>12,}{r.get('ratio', 0):>11.1%}"
            f"{min(r['busy']):>7.0%}{share or 0:>8.0%}{r['mib']['worker']:>12,}  {r['verdict']}"
        )


if __name__ == "__main__":
    main()
