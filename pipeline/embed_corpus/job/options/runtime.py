"""On what a job runs, and how; it changes no vector but in its last bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from embed_corpus.errors import UsageError
from embed_corpus.job.options.option import Option

__all__ = ["Runtime", "check_runtime"]

_LONGEST_GRACE = 86400
"""Seconds; more is a slip."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """On what a job runs, and how."""

    devices: Annotated[
        str,
        Option(
            "Where to run: every GPU (else the CPU), the CPU, or these GPUs. cpu,cpu: two workers that divide the "
            "cores.",
            "all|cpu|0,1",
            also="plan bench",
        ),
    ] = "all"
    batch_tokens: Annotated[
        int | None,
        Option(
            "Tokens of a batch.",
            "N",
            shown="measured once for model and GPU; 1024 on a CPU",
            least=1,
            most=1 << 30,
            also="plan bench",
        ),
    ] = None
    loader_workers: Annotated[
        int | None,
        Option(
            "Processes a GPU that read ahead and tokenise; 0: none.",
            "N",
            shown="as many as it needs; none for a CPU",
            least=0,
            most=1024,
        ),
    ] = None
    fast_tokenizer: Annotated[
        bool,
        Option("In loader processes tokenise with what the extra `fast` brings, where it gives the same tokens."),
    ] = True
    compile: Annotated[
        bool,
        Option("Fuse or compile the model's layers; without, for debugging.", also="bench"),
    ] = True
    grace: Annotated[
        float,
        Option(
            "At SIGTERM, Ctrl-C or SIGUSR1 finish the shards under way that take no longer than this; 0: drop "
            "them. A second signal drops them too.",
            "SECONDS",
        ),
    ] = 25.0


def check_runtime(asked: Runtime) -> None:
    """Check what no single value tells.

    Raises:
        UsageError: an option has a value that cannot be.
    """
    if not 0 <= asked.grace <= _LONGEST_GRACE:
        raise UsageError(f"--grace {asked.grace}: give seconds, 0 to {_LONGEST_GRACE:,}.")
