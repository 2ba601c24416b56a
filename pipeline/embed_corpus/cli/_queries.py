"""What commands that embed queries have in common."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.job.reopen import Opened

__all__ = ["embedded", "query_options"]

_OPTIONS = (
    click.option("--model", metavar="NAME", help="Where the job's model lies now, if it has moved."),
    click.option("--prompt-name", metavar="NAME", help="The model's prompt of this name instead of the recorded one."),
    click.option("--prompt", metavar="TEXT", help="Put this before a query instead of the recorded prompt."),
    click.option("--instruction", metavar="TEXT", help="Tell the model the task: `Instruct: TEXT`, `Query:`."),
    click.option("--trust-remote-code", is_flag=True, help="Run the model's own Python code, as `run` was allowed to."),
)


def query_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how its queries are embedded."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), command)


def embedded(opened: Opened, texts: Sequence[str], asked: dict[str, Any]) -> NDArray[np.float32]:
    """Embed queries as those options ask for; float32[n, dim]."""
    from embed_corpus.job.model import Prompts
    from embed_corpus.job.query import embed_queries

    prompts = Prompts(asked["prompt_name"], asked["prompt"], asked["instruction"])
    return embed_queries(opened, texts, asked["model"], prompts, remote_code=asked["trust_remote_code"])
