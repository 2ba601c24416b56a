"""What `verify` checks: accounting, files, vectors, and a sample embedded again from its source."""

from __future__ import annotations

import hashlib
import os
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_corpus.data.records import digest
from embed_corpus.engine.base import EncoderSpec
from embed_corpus.engine.encoders import load_encoder
from embed_corpus.errors import DataError, EmbedCorpusError, OutputError
from embed_corpus.index.manifest import check_current, check_files, read_manifest
from embed_corpus.index.rows import space_of
from embed_corpus.job.devices import resolve_devices
from embed_corpus.job.fits import check_fit
from embed_corpus.job.late_chunking import check_late_chunking
from embed_corpus.sink.documents import check_documents
from embed_corpus.sink.ranges import read_ranges
from embed_corpus.sink.readback import check_part, open_part, part_stats, vectors_of
from embed_corpus.sink.rejects import read_rejects
from embed_corpus.sink.snapshot import Snapshot, latest_snapshot
from embed_corpus.source.read import read_shard
from embed_corpus.vectors.codec import codec_of
from embed_corpus.vectors.table import vector_type
from embed_corpus.verbs.query import encode_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.chunk.windows import Chunker
    from embed_corpus.data import Chunks, Shard
    from embed_corpus.engine.base import Encoder
    from embed_corpus.job.output import Opened
    from embed_corpus.sink.snapshot import PartEntry
    from embed_corpus.store.base import Key
    from embed_corpus.store.layout import Layout
    from embed_corpus.vectors.codec import Codec

__all__ = ["Check", "check_rows", "check_vectors_of", "checks"]

_COSINE_FP8 = 0.9
"""Least cosine of vectors made in fp8, which are embedded again in bf16 where there is no GPU."""
_PARTS_SAMPLED = 4


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: what, whether it held, and what was seen."""

    name: str
    ok: bool
    detail: str


def checks(opened: Opened, sample: int, model: str | None = None, *, remote_code: bool = False) -> Iterator[Check]:
    """Check an OUT and yield one `Check` after the other; `sample` chunks are embedded again.

    Raises:
        OutputError: there is no snapshot yet.
        ModelError, UsageError: the model is gone or another one (with a `sample`).
    """
    snapshot = latest_snapshot(opened.layout)
    if snapshot is None:
        raise OutputError(f"{opened.layout.root} has no snapshot yet: let the run come to its end first.")
    yield _guarded("accounting", lambda: _accounting(opened, snapshot))
    yield _guarded("parts", lambda: _parts(opened, snapshot))
    if opened.last_run.doc_vectors != "none":
        yield _guarded("documents", lambda: _documents(opened, snapshot))
    if opened.layout.store.stat(opened.layout.index / "index.json"):
        yield _guarded("index", lambda: _index(opened, snapshot))
    if sample and snapshot.counts.chunks:
        facts = opened.facts(model, remote_code=remote_code)
        yield _guarded("sample", lambda: _Sample(opened, snapshot, sample).check(facts))


def _guarded(name: str, check: Any) -> Check:
    try:
        return Check(name, ok=True, detail=check())
    except (EmbedCorpusError, OSError, pa.ArrowException) as error:
        return Check(name, ok=False, detail=str(error))


def _accounting(opened: Opened, snapshot: Snapshot) -> str:
    """Rows of the plan = documents + rejects, for every shard; every reject is on record."""
    names = [part.name for part in snapshot.parts]
    planned = {shard.part_name: shard for shard in opened.plan.shards}
    if set(names) != set(planned) or set(names) != set(opened.layout.parts()):
        raise OutputError(
            "the snapshot, the plan and data/ do not list the same parts: run the same line again, then verify."
        )
    for part in snapshot.parts:
        check_rows(opened, part, planned[part.name])
    total = snapshot.counts
    return f"{total.rows:,} rows = {total.documents:,} documents + {total.rejected:,} rejects, in {len(names)} parts"


def check_rows(opened: Opened, part: PartEntry, shard: Shard) -> None:
    """Check that a shard's rows are documents or rejects on record.

    Raises:
        OutputError: they are not.
    """
    counts, recorded = part.counts, len(read_rejects(opened.layout, shard.id))
    if not counts.rows == shard.n_rows == counts.documents + counts.rejected or recorded != counts.rejected:
        raise OutputError(
            f"{part.name}: {shard.n_rows} rows planned, {counts.documents} documents, {counts.rejected} rejects, "
            f"{recorded} of them on record. {_REMEDY}"
        )


def _parts(opened: Opened, snapshot: Snapshot) -> str:
    """Every part has its checksum, rows and documents, and sound vectors."""
    for part in snapshot.parts:
        check_vectors_of(opened, part)
    space = opened.record.space
    quantised = vector_type(opened.record.vector_type).quantised
    unit = " of unit length" if space.normalize and not quantised else ""
    return (
        f"{snapshot.counts.chunks:,} vectors of dimension {space.dim}, all finite{unit}; sha256 and page checksums hold"
    )


def check_vectors_of(opened: Opened, part: PartEntry) -> None:
    """Check a part's checksum, rows, documents and vectors.

    Raises:
        OutputError: naming the part and what is wrong.
    """
    space, file = opened.record.space, opened.layout.data / part.name
    if _sha256(opened.layout, file) != part.sha256:
        raise OutputError(_damaged(file, "its bytes are not those that were committed"))
    with opened.layout.store.open(file) as stored:
        check_part(stored, space.dim, part.counts.chunks, normalized=space.normalize, called=file)
    with open_part(opened.layout, file, checked=False) as parquet:
        ranges, ids = codec_of(parquet.schema_arrow).ranges, parquet.read(["doc_id", "chunk_index"])
    if ranges is not None and not ranges.same(read_ranges(opened.layout, space.dim)):
        raise OutputError(_damaged(file, f"its ranges are not those of {opened.layout.ranges}"))
    first = ids.filter(pc.equal(ids["chunk_index"], 0))["doc_id"]
    if not len(first) == pc.count_distinct(first).as_py() == part.counts.documents:
        raise OutputError(_damaged(file, f"{len(first)} documents, not {part.counts.documents}"))


_REMEDY = "`embed-corpus verify OUT --repair` sets such parts aside; the same line again redoes those alone."


def _damaged(file: Key, why: str) -> str:
    return f"{file} is damaged ({why}). {_REMEDY}"


def _documents(opened: Opened, snapshot: Snapshot) -> str:
    """Every part has the vectors of its documents, and no others are there."""
    n = sum(check_documents(opened.layout, part.name) for part in snapshot.parts)
    if left := set(opened.layout.store.list(opened.layout.documents)) - {part.name for part in snapshot.parts}:
        raise OutputError(f"{opened.layout.documents / min(left)} belongs to no part: delete it.")
    if n != snapshot.counts.documents:
        raise OutputError(f"{n:,} documents have a vector, not {snapshot.counts.documents:,}.")
    return f"{n:,} documents, each the mean of its chunks"


def _index(opened: Opened, snapshot: Snapshot) -> str:
    manifest = read_manifest(opened.layout)
    if manifest is None:
        raise OutputError(
            f"{opened.layout.index / 'index.json'} is gone: `embed-corpus index {opened.layout.root}` makes it anew."
        )
    check_current(opened.layout, manifest, snapshot, space_of(opened.layout, snapshot.parts[0].name))
    check_files(opened.layout, manifest, whole=True)
    n_rows, n_vectors = manifest.rows, manifest.n_vectors
    return f"{n_vectors:,} vectors{f' of {n_rows:,} chunks' if n_vectors < n_rows else ''}, sha256 holds"


def _device(used: Sequence[str]) -> str:
    """Return the device to embed on again: a GPU if the run had one and this machine has, else the CPU."""
    return resolve_devices("all")[0] if used[0] != "cpu" else "cpu"


def _sha256(layout: Layout, file: Key) -> str:
    try:
        with layout.store.open(file) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise OutputError(f"{file}: {error.strerror}. Run the same line again.") from error


class _Sample:
    """Random chunks, read from their sources, cut and embedded again."""

    def __init__(self, opened: Opened, snapshot: Snapshot, size: int) -> None:
        self._opened = opened
        dice = random.Random(snapshot.number)  # noqa: S311  # a sample, no secret
        filled = [part for part in snapshot.parts if part.counts.chunks]
        self._parts = dice.sample(filled, min(_PARTS_SAMPLED, len(filled)))
        each = -(-size // len(self._parts))
        self._rows = {p.name: dice.sample(range(p.counts.chunks), min(each, p.counts.chunks)) for p in self._parts}

    def check(self, facts: Any) -> str:
        opened, record = self._opened, self._opened.record
        device = _device(opened.last_run.devices)
        recipe = record.recipe(facts)
        chunker = recipe.chunker()
        precision = "bf16" if record.precision == "fp8" and device == "cpu" else record.precision
        cores = len(os.sched_getaffinity(0))
        loaded = load_encoder(EncoderSpec(device, facts, precision, recipe.longest, force_fp8=True, cores=cores))
        check_fit(chunker.tokenizer, facts, loaded.known_ids)
        ready = loaded.ready(list)
        if recipe.pass_tokens:
            check_late_chunking(ready)
        encoder = ready.encoder
        here = digest(encoder.numerics)
        shards = {shard.part_name: shard for shard in opened.located().values()}
        worst, n_equal, n = 1.0, 0, 0
        for part in self._parts:
            again, theirs, codec = self._again(shards[part.name], chunker, encoder, part.name)
            ours = codec.encode(again)
            same = (ours == theirs).all(axis=1)
            if part_stats(opened.layout, part.name).get("numerics") == here and not same.all():
                raise OutputError(f"{part.name}: {int((~same).sum())} of {len(same)} sampled vectors have other bytes")
            a, b = codec.decode(ours), codec.decode(theirs)
            cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
            worst, n_equal, n = min(worst, float(cosine.min())), n_equal + int(same.sum()), n + len(same)
            if worst < min(codec.type.least_cosine, _COSINE_FP8 if record.precision == "fp8" else 1):
                raise OutputError(
                    f"{part.name}: a sampled vector has cosine {worst:.6f} to the same text embedded again"
                )
        return f"{n} chunks embedded again from their sources: {n_equal} to the same bytes, least cosine {worst:.7f}"

    def _again(
        self, shard: Shard, chunker: Chunker, encoder: Encoder, name: str
    ) -> tuple[NDArray[np.float32], NDArray[Any], Codec]:
        """Return the sampled vectors of one part: embedded again, and as they stand in it, stored by the codec."""
        with open_part(self._opened.layout, self._opened.layout.data / name, checked=False) as file:
            table = file.read().take(pa.array(sorted(self._rows[name])))
        wanted: dict[str, list[int]] = defaultdict(list)
        for i, doc_id in enumerate(table["doc_id"].to_pylist()):
            wanted[doc_id].append(i)
        theirs = vectors_of(table["embedding"])
        codec = codec_of(table.schema)
        ours = np.full((len(theirs), codec.dim), np.nan, np.float32)
        expected = table.select(["chunk_index", "char_start", "char_end", "content_hash"]).to_pylist()
        columns = self._opened.record.columns
        keep = {n: table.schema.field(n).type for n in columns.keep}
        for rows in read_shard(shard, columns, keep):
            for doc_id, text in zip(rows.table["doc_id"].to_pylist(), rows.table["text"].to_pylist(), strict=True):
                if doc_id in wanted:
                    chunks = chunker([text])
                    for i in wanted.pop(doc_id):
                        ours[i] = _embed_one(encoder, chunks, expected[i], f"{shard.source}, {doc_id}")
            if not wanted:
                break
        if wanted:
            raise DataError(
                f"{shard.source} no longer holds document {next(iter(wanted))!r}: it changed since the run."
            )
        return ours, theirs, codec


def _embed_one(encoder: Encoder, chunks: Chunks, expected: dict[str, Any], where: str) -> NDArray[np.float32]:
    """Embed one chunk of a document, after checking that it is cut as it was."""
    index = expected["chunk_index"]
    found = None
    if index < len(chunks):
        found = {
            "chunk_index": int(chunks.index[index]),
            "char_start": int(chunks.start[index]),
            "char_end": int(chunks.end[index]),
            "content_hash": chunks.content_hash[index].tobytes(),
        }
    if found != expected:
        raise DataError(f"{where}: chunk {index} is cut otherwise now, or its source changed since the run.")
    text, place = chunks.around(index)
    vector: NDArray[np.float32] = encode_chunks(encoder, text)[place]
    return vector
