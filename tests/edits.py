"""Random edits of source files in place: is each one noticed, and are the vectors then those of the new content?

`PYTHONPATH=tests python -m edits 500` makes so many and prints the figures as JSON.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from embed_corpus.engine.fake import FakeEncoder
from embed_corpus.execution.loader import Loader
from embed_corpus.execution.pipeline import Stages, embed_shards
from embed_corpus.execution.reuse import Reuse
from embed_corpus.job.config import JobConfig
from embed_corpus.job.prepare import Job, prepare
from embed_corpus.model.facts import read_facts
from embed_corpus.sink.quarantine import set_aside
from embed_corpus.source import inspected as known
from embed_corpus.source.formats import base, parquet

WORDS = ["heat", "wing", "flow", "lift", "drag", "mach", "shock", "layer", "plate", "cone", "nose", "body", "tail"]
CODECS = ("snappy", "none", "none", "none", "zstd", "gzip", "lz4", "brotli")
PACKED: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
N_ROWS = 60
MODES = ("time", "fresh", "mtime kept", "all times kept")
"""How an edit shows: by its time; by nothing noted of so new a file; by ctime alone; with --paranoid alone."""


@dataclass(frozen=True)
class Kind:
    """How a source file is written."""

    name: str
    options: dict[str, Any]
    text: pa.DataType

    def write(self, file: Path, rows: dict[str, list[Any]]) -> None:
        """Write the rows over what is there, in place: the same inode."""
        if self.name == "x.parquet":
            types = {"id": pa.string(), "text": self.text, "year": pa.int64()}
            table = pa.table({name: pa.array(rows[name]).cast(kind) for name, kind in types.items()})
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, **self.options)
            content = sink.getvalue().to_pybytes()
        else:
            lines = [json.dumps(dict(zip(rows, row, strict=True))) + "\n" for row in zip(*rows.values(), strict=True)]
            content = PACKED[file.suffix if file.suffix in PACKED else ""]("".join(lines).encode())
        with file.open("r+b" if file.exists() else "wb") as stream:
            stream.write(content)
            stream.truncate()


def draw_kind(dice: random.Random) -> Kind:
    """Draw a format: two of three are Parquet, of some codec, layout of row groups and type of text."""
    if dice.random() < 1 / 3:
        return Kind(f"x.jsonl{dice.choice(list(PACKED))}", {}, pa.string())
    options = {
        "compression": dice.choice(CODECS),
        "row_group_size": dice.choice([7, 20, N_ROWS]),
        "use_dictionary": dice.random() < 0.5,
        "write_statistics": dice.random() < 0.3,
        "data_page_version": dice.choice(["1.0", "2.0"]),
        "data_page_size": dice.choice([300, 1 << 20]),
        "write_page_checksum": dice.random() < 0.3,
    }
    kinds = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
    return Kind("x.parquet", options, dice.choice(kinds))


def draw_rows(dice: random.Random) -> dict[str, list[Any]]:
    """Draw documents of 20 words, each different."""
    texts = [" ".join(dice.choices(WORDS, k=20)) + f" {i}" for i in range(N_ROWS)]
    return {"id": [f"p{i:03}" for i in range(N_ROWS)], "text": texts, "year": [1900 + i for i in range(N_ROWS)]}


def edited(rows: dict[str, list[Any]], dice: random.Random) -> dict[str, list[Any]]:
    """Change one value of one row for another as long."""
    row, column = dice.randrange(N_ROWS), dice.choice(["text", "text", "text", "id", "year"])
    value = rows[column][row]
    if column == "text":
        words = value.split()
        at = dice.randrange(len(words) - 1)
        words[at] = dice.choice(
            [w for w in WORDS if len(w) == len(words[at]) and w != words[at]] or ["q" * len(words[at])]
        )
        value = " ".join(words)
    else:
        value = f"{'q' if value[0] == 'p' else 'p'}{row:03}" if column == "id" else value + 2000
    return rows | {column: [*rows[column][:row], value, *rows[column][row + 1 :]]}


class Night:
    """One OUT over one folder: prepares a job as the command does, and embeds what there is to do."""

    def __init__(self, folder: Path, out: Path, model: Path) -> None:
        self.folder, self.out, self.model = folder, out, model
        self.encoder = FakeEncoder(read_facts(model).dim)
        self.taken_over = self.n_embedded = 0

    def prepared(self, **options: Any) -> Job:
        """Settle the job."""
        fixed = {"id_column": "id", "keep": ("year",), "keep_text": True, "devices": "cpu", "prune": True}
        return prepare(JobConfig((str(self.folder),), self.out, str(self.model), **fixed | options))

    def embed(self, job: Job) -> None:
        """Embed, and set aside what is replaced."""
        loader = Loader(job.recipe, job.config.columns, job.form.keep_types, workers=0)
        stages = Stages(loader, self.encoder, job.form, job.layout, "n", Reuse(job.earlier, "n"))
        failed: list[str] = []
        before = self.encoder.n_chunks
        embed_shards(job.todo, stages, lambda event: failed.extend([event.reason] if hasattr(event, "reason") else []))
        assert not failed, failed
        self.taken_over, self.n_embedded = stages.reuse.tokens, self.encoder.n_chunks - before
        for name in job.stale:
            set_aside(job.layout, name, job.layout.superseded)

    def table(self) -> pa.Table:
        """All that was embedded, in order."""
        table = pq.read_table(self.out / "data")
        return table.replace_schema_metadata().sort_by([("doc_id", "ascending"), ("chunk_index", "ascending")])


def forge(out: Path, file: Path) -> None:
    """Let the note of a file have its times of now, as if none could tell of the edit."""
    note = out / "_embed" / "sources.json"
    content = json.loads(note.read_text())
    entry, stat = content["sources"][str(file)], file.stat()
    entry |= {"mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns}
    note.write_text(json.dumps(content))


def fuzz(n: int, folder: Path, model: Path, seed: int = 0) -> Counter[str]:
    """Make n edits, two in each OUT; counts those not noticed, and much that tells what was tried."""
    counts: Counter[str] = Counter()
    was, base.SHARD_ROWS = (known._SETTLED_NS, base.SHARD_ROWS), 25
    try:
        for number in range(n // 2):
            mode = MODES[number % len(MODES)]
            known._SETTLED_NS = 1 << 62 if mode == "fresh" else -(1 << 62)
            counts += one(random.Random(f"{seed}-{number}"), folder / str(number), model, mode)
    finally:
        known._SETTLED_NS, base.SHARD_ROWS = was
    return counts


def one(dice: random.Random, folder: Path, model: Path, mode: str) -> Counter[str]:
    """Embed a file, edit it in place, run again, and that twice; says what came of it."""
    kind, rows = draw_kind(dice), draw_rows(dice)
    file = folder / "in" / kind.name
    file.parent.mkdir(parents=True)
    kind.write(file, rows)
    night = Night(folder / "in", folder / "out", model)
    night.embed(night.prepared())
    counts = Counter({f"{file.suffix} {mode}": 2})
    first = rows
    for i in range(2):
        old, before, looks = rows, file.stat(), outside(file)
        for _ in range(10):  # of ten edits one that hides best
            rows = first if i and dice.random() < 0.3 else edited(rows, dice)
            kind.write(file, rows)
            if outside(file) == looks and rows != old:
                counts["footer and size kept"] += 1
                break
        assert rows != old
        if mode in MODES[2:]:
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        paranoid = mode == MODES[3]
        if paranoid:
            forge(night.out, file)
            counts["unnoticed without --paranoid, no time telling"] += not night.prepared().todo
        job = night.prepared(paranoid=paranoid)
        counts["edits"] += 1
        counts["not noticed"] += not job.todo
        night.embed(job)
        counts["tokens taken over"] += night.taken_over
        clean = Night(night.folder, folder / f"clean-{i}", model)
        clean.embed(clean.prepared())
        counts["not as a clean run"] += not night.table().equals(clean.table())
        os.utime(file)
        counts["touched and embedded again"] += bool(night.prepared().todo)
    return counts


def outside(file: Path) -> tuple[int, str]:
    """Return all that a first plan sees of a file; of JSONL that is all of it."""
    footer = parquet._footer_hash(file) if file.suffix == ".parquet" else str(file.read_bytes())
    return file.stat().st_size, footer


def main() -> None:
    """Make as many edits as the command line says, over a tiny model."""
    import torch
    from transformers import BertConfig, BertModel

    from kit.tiny import SIZES, save_model, wordpiece

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "model")
        made.mkdir()
        config = BertConfig(**SIZES, max_position_embeddings=64)
        model = save_model(made, BertModel(config).eval(), wordpiece([" ".join(WORDS)]))
        counts = fuzz(int(sys.argv[1]), Path(folder), model, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    sys.stdout.write(json.dumps(dict(sorted(counts.items())), indent=1) + "\n")
    sys.exit(bool(counts["not noticed"] or counts["not as a clean run"] or counts["touched and embedded again"]))


if __name__ == "__main__":
    main()
