"""The model, its prompts, and its vectors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from embed_corpus.errors import UsageError
from embed_corpus.job.options.option import Option
from embed_corpus.model.facts import POOLINGS

__all__ = ["Model", "Precision", "check_model"]

Precision = Literal["auto", "fp32", "fp16", "bf16", "fp8"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which model, with which prompts, in which precision, to which dimension."""

    model: Annotated[
        str | None,
        Option(
            "Folder of a sentence-transformers model, or its hub id.",
            "NAME",
            shown="the MiniLM of the demo extra",
            also="plan bench",
        ),
    ] = field(default=None, kw_only=False)
    revision: Annotated[
        str | None,
        Option("Branch, tag or commit of a hub model.", "COMMIT", also="plan bench"),
    ] = None
    trust_remote_code: Annotated[
        bool,
        Option(
            "Run Python code that the model brings; a hub model needs --revision with a commit's 40 hex digits.",
            also="plan bench",
        ),
    ] = False
    pooling: Annotated[
        str | None,
        Option(
            "For a model whose files do not say how a text's token states become its vector (normalised, then).",
            choices=POOLINGS,
            also="plan bench",
        ),
    ] = None
    prompt_name: Annotated[
        str | None,
        Option("The model's prompt to put before documents.", "NAME", shown="document", also="plan"),
    ] = None
    prompt: Annotated[
        str | None,
        Option("Put this before every document (each chunk of it).", "TEXT", also="plan"),
    ] = None
    query_prompt: Annotated[
        str | None,
        Option("Record this prompt: `search` puts it before every query.", "TEXT"),
    ] = None
    instruction: Annotated[
        str | None,
        Option(
            "Record this task for queries: `search` then puts `Instruct: TEXT`, a new line and `Query:` before them.",
            "TEXT",
        ),
    ] = None
    precision: Annotated[
        Precision,
        Option(
            "Arithmetic of the model. auto: fp32 on a CPU; fp16 (BERT's family) or bf16 on a GPU. fp8: what it "
            "costs is measured first, on your texts.",
            also="plan bench",
        ),
    ] = "auto"
    force_fp8: Annotated[
        bool,
        Option("Use fp8 even where it costs much."),
    ] = False
    dim: Annotated[
        int | None,
        Option(
            "Cut vectors to their first N numbers and scale them to unit length again, where the model was trained "
            "for that (Matryoshka).",
            "N",
            shown="all",
            least=1,
            also="plan",
        ),
    ] = None
    force_dim: Annotated[
        bool,
        Option("Cut them even where the model's files name no such dimension.", also="plan"),
    ] = False


def check_model(asked: Model) -> None:
    """Check what no single value tells.

    Raises:
        UsageError: two options contradict each other.
    """
    if asked.prompt_name is not None and asked.prompt is not None:
        raise UsageError("--prompt-name and --prompt contradict each other: give one.")
    if asked.query_prompt is not None and asked.instruction is not None:
        raise UsageError("--query-prompt and --instruction contradict each other: give one.")
    if asked.force_fp8 and asked.precision != "fp8":
        raise UsageError("--force-fp8 has no meaning without --precision fp8: add that, or drop it.")
    if asked.force_dim and asked.dim is None:
        raise UsageError("--force-dim has no meaning without --dim N: add that, or drop it.")
