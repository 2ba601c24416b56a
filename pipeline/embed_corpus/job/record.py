"""What OUT records of a job: all that decides its parts' content (job.json), and what the last run noted (run.json)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from embed_corpus.chunk.recipe import ChunkRecipe
from embed_corpus.data.records import as_json, digest, from_json
from embed_corpus.source.columns import Columns
from embed_corpus.store.notes import read_json

if TYPE_CHECKING:
    from embed_corpus.model.facts import ModelFacts
    from embed_corpus.store.layout import Layout

__all__ = ["JobFile", "JobRecord", "LastRun", "SpaceRecord", "read_job_file", "read_last_run"]


@dataclass(frozen=True, kw_only=True)
class SpaceRecord:
    """What decides whether vectors may be searched together; its hash is that of the space.

    Attributes:
        config: sha256 of config.json; a StaticEmbedding model has none.
        weights: sha256 of each file of weights, by name.
        tokenizer: sha256 of tokenizer.json.
        prompt: put before every document.
        pooling, dim, normalize: as in `ModelFacts`.
        modules, dense: the Dense modules: their folders and whether they take vectors of unit length; sha256 of files.
        static: how a StaticEmbedding model takes tokens that it does not know.
        tokenizer_rules: what decides about tokens beside tokenizer.json.
        code: sha256 of the model's own Python files, where these may be run.
        adapter: sha256 of the adapter's files.
        queries: the space of the modules that queries go through, where they are others.
        left_out, include_prompt: as in `ModelFacts`.
        others: what another version of this package records.
    """

    config: str | None = None
    weights: dict[str, str]
    tokenizer: str
    prompt: str
    pooling: str
    dim: int
    normalize: bool
    modules: list[list[Any]] | None = None
    dense: dict[str, str] | None = None
    static: dict[str, Any] | None = None
    tokenizer_rules: dict[str, Any] | None = None
    code: dict[str, str] | None = None
    adapter: dict[str, str] | None = None
    queries: dict[str, Any] | None = None
    left_out: int = 0
    include_prompt: bool = True
    others: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the fields; those that only some models have, where they have them."""
        return as_json(self)

    @cached_property
    def hash(self) -> str:
        """The hash of the space, 32 hex digits."""
        return digest(self.to_json())


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """What decides a part's content: the space, and how rows become chunks and columns. Its hash is the job's.

    Attributes:
        space: of the vectors.
        chunk_tokens, chunk_overlap, chunk_by, long: how documents become chunks.
        late_chunking: tokens of a pass; 0: each chunk goes through the model alone.
        text_column, id_column: what is read.
        keep: kept columns and their types, as Arrow names them.
        keep_text: each chunk's text is kept, too.
        precision: "fp32", "fp16", …, as it was resolved.
        vector_type: how vectors are stored.
        schema: version of the parts' layout.
        others: what another version of this package records.
    """

    space: SpaceRecord
    chunk_tokens: int
    late_chunking: int = 0
    chunk_overlap: int
    chunk_by: str
    long: str
    text_column: tuple[str, ...]
    id_column: str | None
    keep: dict[str, str]
    keep_text: bool
    precision: str
    vector_type: str
    schema: int
    others: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> JobRecord:
        """Return the record that was written so.

        Raises:
            KeyError, TypeError, ValueError: it was not.
        """
        space = from_json(SpaceRecord, content["space"])
        return from_json(cls, content, space=space, text_column=tuple(content["text_column"]))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as job.json has them."""
        return as_json(self)

    @cached_property
    def hash(self) -> str:
        """The hash of the job, 32 hex digits."""
        return digest(self.to_json())

    @property
    def columns(self) -> Columns:
        """The input columns."""
        return Columns(self.text_column, self.id_column, tuple(self.keep))

    def recipe(self, facts: ModelFacts) -> ChunkRecipe:
        """Return how documents became chunks, with the model that did it."""
        return ChunkRecipe.of_model(
            facts,
            self.chunk_tokens,
            overlap=self.chunk_overlap,
            by=self.chunk_by,
            truncate=self.long == "truncate",
            pass_tokens=self.late_chunking,
        )

    def in_parts(self) -> dict[str, Any]:
        """Return what every part tells of its job: space and job, each with its hash."""
        job = {name: value for name, value in self.to_json().items() if name != "space"}
        return {"space": {"hash": self.space.hash, **self.space.to_json()}, "job": {"hash": self.hash, **job}}


class JobFile(NamedTuple):
    """What job.json holds: the hash of the job that OUT belongs to, and its record, as it is written there."""

    hash: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, job: JobRecord) -> JobFile:
        """Return what marks an OUT as that of a job."""
        return cls(job.hash, job.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {"job": self.hash, "fields": self.fields}


def read_job_file(layout: Layout) -> JobFile:
    """Return what job.json holds; the record of another version may have other fields.

    Raises:
        OSError, KeyError, TypeError, ValueError: it is not there, or damaged.
    """
    content = read_json(layout, layout.job)
    return JobFile(content["job"], content["fields"])


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """What the last run noted for later commands on this machine: where model and input lie, which plan is current.

    Attributes:
        plan: its id.
        input: paths and globs, absolute.
        model: the folder, or the name on the hub; None: the bundled one.
        revision, pooling, query_prompt, format: as asked for, or as the model's files say.
        devices: those the run was on.
        bad_files: source files that were left out, with the reason.
        doc_vectors: whether documents have vectors of their own, as asked for.
    """

    plan: str
    input: tuple[str, ...]
    model: str | None
    revision: str | None
    pooling: str | None
    query_prompt: str
    devices: tuple[str, ...]
    bad_files: dict[str, str]
    doc_vectors: str
    format: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the content of run.json."""
        return as_json(self)


_NOT_YET: dict[str, Any] = {"pooling": None, "devices": ["cpu"], "bad_files": {}, "doc_vectors": "none", "format": None}
"""What is taken for noted where an older version did not note it yet."""


def read_last_run(layout: Layout) -> LastRun:
    """Return what run.json holds.

    Raises:
        OSError, KeyError, TypeError, ValueError: it is not there, or damaged.
    """
    content = _NOT_YET | read_json(layout, layout.current_run)
    return from_json(LastRun, content, input=tuple(content["input"]), devices=tuple(content["devices"]))
