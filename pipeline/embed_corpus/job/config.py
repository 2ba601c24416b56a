"""What a user asks for: one frozen dataclass, the same from flags, a TOML file and Python."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from embed_corpus.data import SHOWN_BYTES
from embed_corpus.errors import UsageError
from embed_corpus.index.choose import Request, parse_bytes
from embed_corpus.job.option_types import kinds_of, wanted_form
from embed_corpus.model.facts import POOLINGS
from embed_corpus.sink.parts import RESERVED
from embed_corpus.source.columns import Columns
from embed_corpus.source.formats.table import FORMATS
from embed_corpus.source.kept import KEEP_TYPES
from embed_corpus.vectors.table import VECTOR_TYPES

__all__ = ["JobConfig", "parse_share"]

_URL = re.compile(r"(?i)[a-z][a-z0-9+.-]+:/")
"""One slash: a Path has lost the other."""

ChunkBy = Literal["tokens", "sentences", "paragraphs"]
Long = Literal["split", "truncate"]
Precision = Literal["auto", "fp32", "fp16", "bf16", "fp8"]
DocVectors = Literal["none", "mean"]
OnDuplicate = Literal["report", "error", "ignore", "last"]

_LONGEST_GRACE = 86400
"""Seconds; more is a slip."""

_LEAST = {
    "chunk_tokens": 1,
    "chunk_overlap": 0,
    "limit": 1,
    "batch_tokens": 1,
    "loader_workers": 0,
    "reject_bytes": 0,
    "max_bad_files": 0,
    "dim": 1,
}
_MOST = {"chunk_tokens": 1 << 30, "chunk_overlap": 1 << 30, "batch_tokens": 1 << 30, "loader_workers": 1024}
"""More is a slip, and would end in a number that does not fit."""
_CHOICES: dict[str, tuple[str | None, ...]] = {
    "format": (None, *FORMATS),
    "chunk_by": get_args(ChunkBy),
    "long": get_args(Long),
    "precision": get_args(Precision),
    "pooling": (None, *POOLINGS),
    "vector_type": tuple(VECTOR_TYPES),
    "doc_vectors": get_args(DocVectors),
    "on_duplicate": get_args(OnDuplicate),
}


@dataclass(frozen=True, slots=True)
class JobConfig:
    """One job. Fields are the command's options; see `embed-corpus run --help` for each.

    Raises:
        UsageError: an option has a value that cannot be, or two contradict each other.
    """

    input: tuple[str, ...]
    output: Path
    model: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    pooling: str | None = None
    prompt_name: str | None = None
    prompt: str | None = None
    query_prompt: str | None = None
    instruction: str | None = None
    format: str | None = None
    text_column: tuple[str, ...] = ("text",)
    id_column: str | None = None
    keep: tuple[str, ...] = ()
    keep_type: tuple[str, ...] = ()
    partition_types: bool = False
    strict_schema: bool = False
    keep_text: bool = False
    chunk_tokens: int | None = None
    chunk_overlap: int = 0
    chunk_by: ChunkBy = "tokens"
    long: Long = "split"
    late_chunking: bool = False
    devices: str = "all"
    precision: Precision = "auto"
    force_fp8: bool = False
    batch_tokens: int | None = None
    loader_workers: int | None = None
    fast_tokenizer: bool = True
    compile: bool = True
    vector_type: str = "float32"
    dim: int | None = None
    force_dim: bool = False
    doc_vectors: DocVectors = "none"
    limit: int | None = None
    max_rejects: str = "0.1%"
    max_bad_files: int = 0
    on_duplicate: OnDuplicate = "report"
    index: str = "none"
    max_memory: str = "8GB"
    target_recall: float = 0.95
    grace: float = 25.0
    overwrite: bool = False
    prune: bool = False
    paranoid: bool = False
    retry_rejects: bool = False
    single_writer: bool = False
    strict: bool = False
    reject_bytes: int = 0

    def __post_init__(self) -> None:
        self._check_forms()
        for what, text in (("OUT", str(self.output)), *(("INPUT", text) for text in self.input)):
            if _URL.match(text):
                raise UsageError(f"{what} {text} is a URL: name files or folders of this machine, e.g. of a mount.")
        if not self.input:
            raise UsageError("no INPUT: name files, folders or globs to read.")
        if not self.text_column:
            raise UsageError("no text column: name at least one with --text-column.")
        for name, minimum in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UsageError(f"--{name.replace('_', '-')} {value}: must be at least {minimum}.")
        for name, most in _MOST.items():
            if (getattr(self, name) or 0) > most:
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be at most {most:,}.")
        if not 0 <= self.grace <= _LONGEST_GRACE:
            raise UsageError(f"--grace {self.grace}: give seconds, 0 to {_LONGEST_GRACE:,}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                told = ", ".join(filter(None, choices))
                raise UsageError(f"--{name.replace('_', '-')} {getattr(self, name)!r}: choose one of {told}.")
        if taken := [name for name in self.keep if name in RESERVED]:
            hint = " Use --keep-text for the text of each chunk." if "text" in taken else ""
            raise UsageError(f"--keep {taken[0]}: a part has a column of that name of its own.{hint}")
        if self.prompt_name is not None and self.prompt is not None:
            raise UsageError("--prompt-name and --prompt contradict each other: give one.")
        if self.query_prompt is not None and self.instruction is not None:
            raise UsageError("--query-prompt and --instruction contradict each other: give one.")
        if self.force_fp8 and self.precision != "fp8":
            raise UsageError("--force-fp8 has no meaning without --precision fp8: add that, or drop it.")
        if self.force_dim and self.dim is None:
            raise UsageError("--force-dim has no meaning without --dim N: add that, or drop it.")
        if self.chunk_overlap and self.long == "truncate":
            raise UsageError("--chunk-overlap has no meaning with --long truncate: drop one of them.")
        if self.late_chunking and (self.chunk_overlap or self.long == "truncate"):
            other = "--chunk-overlap" if self.chunk_overlap else "--long truncate"
            raise UsageError(f"--late-chunking embeds whole documents, each token once: drop it, or {other}.")
        if self.strict:
            object.__setattr__(self, "max_rejects", "0")
            object.__setattr__(self, "max_bad_files", 0)
            object.__setattr__(self, "on_duplicate", "error")
            object.__setattr__(self, "strict_schema", True)
        if self.reject_bytes > SHOWN_BYTES:
            raise UsageError(f"--reject-bytes {self.reject_bytes}: at most {SHOWN_BYTES}.")
        parse_share(self.max_rejects)
        self._check_keep_types()
        self.index_request  # noqa: B018  # raises

    def _check_forms(self) -> None:
        """Check that each value is of its field's kind; paths may be told as `Path`, several texts as a list."""
        if isinstance(self.input, list | tuple):
            object.__setattr__(self, "input", tuple(map(_text_of, self.input)))
        object.__setattr__(self, "model", _text_of(self.model))
        for name, kind in kinds_of(JobConfig).items():
            value = getattr(self, name)
            if value is None and _DEFAULTS[name] is None:
                continue
            if wrong := wanted_form(name, kind, value):
                raise UsageError(f"{name}: {wrong}.")
            if kind is tuple:
                object.__setattr__(self, name, tuple(value))
            elif name in {"max_rejects", "max_memory", "devices"}:
                object.__setattr__(self, name, str(value))
            texts = value if kind is tuple else [value]
            if any("\0" in str(text) for text in texts):
                raise UsageError(f"{name}: the text holds a NUL character: take it out.")
        object.__setattr__(self, "output", Path(self.output))

    @property
    def columns(self) -> Columns:
        """The input columns that are read."""
        types = tuple((name, kind) for name, _, kind in (text.rpartition("=") for text in self.keep_type))
        names = tuple(self.text_column), self.id_column, tuple(self.keep)
        return Columns(*names, types, self.strict_schema, self.partition_types)

    def _check_keep_types(self) -> None:
        for text in self.keep_type:
            name, _, kind = text.rpartition("=")
            if not name or kind not in KEEP_TYPES:
                raise UsageError(f"--keep-type {text!r}: give COLUMN=TYPE with TYPE one of {', '.join(KEEP_TYPES)}.")
            if name not in self.keep:
                raise UsageError(f"--keep-type {text!r}: column {name!r} is not kept. Add --keep {name}.")
        if len(dict(self.columns.types)) < len(self.keep_type):
            raise UsageError("--keep-type names a column twice: give it one type.")

    @property
    def index_request(self) -> Request:
        """The index asked for."""
        return Request(self.index, parse_bytes(self.max_memory), self.target_recall)

    def rejects_allowed(self, rows: int) -> int:
        """Rows that may be rejected: the share asked for, and 10 at least (unless the share is 0)."""
        share = parse_share(self.max_rejects)
        return max(10, int(rows * share)) if share else 0


_DEFAULTS = {option.name: option.default for option in fields(JobConfig)}


def _text_of(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def parse_share(text: str) -> float:
    """Parse "0.1%" or "0.001" to 0.001.

    Raises:
        UsageError: no number, or none between 0 and 100 %.
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"--max-rejects {text!r}: give a share such as 0.1% or 0.001.")
    return share
