"""What commands that embed queries have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embed_corpus.cli._options import shared

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.job.output import Opened

__all__ = ["embedded", "query_options"]


def query_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how its queries are embedded."""
    return shared("model", "prompt-name", "prompt", "instruction", "trust-remote-code")(command)


def embedded(opened: Opened, texts: Sequence[str], asked: dict[str, Any], names: Sequence[str]) -> NDArray[np.float32]:
    """Embed queries as those options ask for; float32[n, dim]. Their `names` are for messages."""
    from embed_corpus.job.prompts import Prompts
    from embed_corpus.verbs.query import embed_queries

    prompts = Prompts(asked["prompt_name"], asked["prompt"], asked["instruction"])
    remote_code = asked["trust_remote_code"]
    return embed_queries(opened, texts, asked["model"], prompts, names=names, remote_code=remote_code)
