"""Where the result goes, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from embed_corpus.errors import UsageError
from embed_corpus.index.choose import Request, parse_bytes
from embed_corpus.job.options.input import refuse_url
from embed_corpus.job.options.option import Option
from embed_corpus.vectors.table import VECTOR_TYPES

__all__ = ["DocVectors", "Output", "check_output"]

DocVectors = Literal["none", "mean"]


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the result goes, what is in it, and what becomes of what lies there."""

    output: Annotated[
        Path | str | None,
        Option("The folder of the result; in a job file relative to it.", flag=False),
    ] = field(default=None, kw_only=False)
    vector_type: Annotated[
        str,
        Option(
            "Numbers in the parts. int8: 256 steps between the extremes of a sample; ubinary: one bit a dimension. "
            "What that costs is measured and told at the end.",
            choices=tuple(VECTOR_TYPES),
            also="plan",
        ),
    ] = "float32"
    doc_vectors: Annotated[
        DocVectors,
        Option("Write one vector a document to OUT/documents, too: the mean of its chunks, weighted by their tokens."),
    ] = "none"
    keep_text: Annotated[
        bool,
        Option("Keep each chunk's text as column `text`; search shows it.", also="plan"),
    ] = False
    index: Annotated[
        str,
        Option(
            "Build an index at the end: none, or what `embed-corpus index --type` takes: auto, flat, hnsw, ivf, ….",
            "TYPE",
        ),
    ] = "none"
    max_memory: Annotated[
        str,
        Option("What building the index may take; lists go to disk.", "SIZE"),
    ] = "8GB"
    target_recall: Annotated[
        float,
        Option(
            "Share of the 10 nearest that an index shall find; it is tuned to that, where it can be, and measured.",
            "SHARE",
        ),
    ] = 0.95
    overwrite: Annotated[
        bool,
        Option("If OUT holds the result of another job, delete that first."),
    ] = False
    prune: Annotated[
        bool,
        Option("Set parts aside whose input is gone or has changed."),
    ] = False
    single_writer: Annotated[
        bool,
        Option("For file systems that can publish nothing atomically: no other run ever writes to OUT."),
    ] = False

    @property
    def out(self) -> Path:
        """The folder of the result.

        Raises:
            UsageError: the job has none: it can be planned, not run.
        """
        if self.output is None:
            raise UsageError("no OUT: name the folder for the result.")
        return Path(self.output)

    @property
    def index_request(self) -> Request:
        """The index asked for."""
        return Request(self.index, parse_bytes(self.max_memory), self.target_recall)


def check_output(asked: Output) -> None:
    """Check what no single value tells.

    Raises:
        UsageError: an option has a value that cannot be.
    """
    if asked.output is not None:
        refuse_url("OUT", str(asked.output))
    asked.index_request  # noqa: B018  # raises
