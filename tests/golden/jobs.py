"""Run the six jobs and print what they gave as JSON: `python -m golden.jobs FOLDER [NAME...]` in tests/.

In a process of its own, whose arithmetic must not depend on the processor: see `ENVIRONMENT`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from embed_corpus.cli import cli

HERE = Path(__file__).parent
ENVIRONMENT = {
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""One code path on all x86 processors: the bits of vectors are then those of the libraries' versions alone."""

JOBS = {
    "plain": "lines bert --id-column id --keep-text --index flat",
    "kept": "lines parquet bert --keep lang --keep year --keep score --keep-type year=double --vector-type float16"
    " --doc-vectors mean --chunk-tokens 100",
    "int8": "parquet bert --id-column id --vector-type int8 --chunk-tokens 64 --chunk-overlap 12 --chunk-by sentences",
    "ubinary": "lines parquet qwen3 --vector-type ubinary --dim 16 --force-dim --long truncate",
    "late": "lines parquet bert --late-chunking --chunk-tokens 32",
    "decoder": "lines qwen3 --id-column id --text-column title --text-column text --prompt passage:"
    " --chunk-tokens 128 --reject-bytes 20",
}
"""Folders of the corpus, the model, and options of `run`."""


def arguments(name: str, out: Path) -> list[str]:
    """Return the command line of this job."""
    words = JOBS[name].split()
    corpus = [str(HERE / "corpus" / word) for word in words if word in ("lines", "parquet")]
    model, *options = words[len(corpus) :]
    fixed = ["--model", str(HERE / model), "--devices", "cpu", "--batch-tokens", "1024", "--quiet"]
    return ["run", *corpus, str(out), *fixed, *options]


def given(out: Path) -> dict[str, Any]:
    """Return the hashes of a finished OUT, and of each part the sha256 of the file and that of all but its vectors."""
    job = json.loads((out / "_embed" / "job.json").read_text(encoding="utf8"))
    parts = {}
    for file in sorted([*(out / "data").glob("*.parquet"), *(out / "documents").glob("*.parquet")]):
        table = pq.read_table(file)
        metadata = {k: v for k, v in (table.schema.metadata or {}).items() if k != b"embed_corpus.ranges"}
        rest = hashlib.sha256(repr(sorted(metadata.items())).encode())
        rest.update(repr(table.drop_columns(["embedding"]).to_pydict()).encode())
        parts[f"{file.parent.name}/{file.name}"] = [
            hashlib.sha256(file.read_bytes()).hexdigest(),
            rest.hexdigest(),
        ]
    space = json.loads(pq.read_schema(next((out / "data").iterdir())).metadata[b"embed_corpus.space"])["hash"]
    return {"space": space, "job": job["job"], "parts": parts}


def main(folder: Path, names: list[str]) -> None:
    """Run the jobs."""
    found = {}
    for name in names or JOBS:
        cli(arguments(name, folder / name), standalone_mode=False)
        found[name] = given(folder / name)
    sys.stdout.write("\n" + json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
