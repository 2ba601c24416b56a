"""Options that several commands have, each declared once."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., None]

__all__ = ["query_options", "shared"]

_OPTIONS = {
    "model": click.option("--model", metavar="NAME", help="Where the job's model lies now, if it has moved."),
    "trust-remote-code": click.option(
        "--trust-remote-code", is_flag=True, help="Run the model's own Python code, as `run` was allowed to."
    ),
    "prompt-name": click.option(
        "--prompt-name", metavar="NAME", help="The model's prompt of this name instead of the recorded one."
    ),
    "prompt": click.option("--prompt", metavar="TEXT", help="Put this before a query instead of the recorded prompt."),
    "instruction": click.option(
        "--instruction", metavar="TEXT", help="Tell the model the task: `Instruct: TEXT`, `Query:`."
    ),
    "max-memory": click.option(
        "--max-memory",
        default="8GB",
        show_default=True,
        metavar="SIZE",
        help="What building the index may take; lists go to disk.",
    ),
    "target-recall": click.option(
        "--target-recall",
        type=click.FloatRange(0, 1, min_open=True),
        default=0.95,
        show_default=True,
        metavar="SHARE",
        help="Share of the 10 nearest that an index shall find; it is tuned to that, where it can be, and measured.",
    ),
}


def shared(*names: str) -> Callable[[Command], Command]:
    """Give a command some of these options, in this order."""
    return lambda command: reduce(lambda made, name: _OPTIONS[name](made), reversed(names), command)


def query_options(command: Command) -> Command:
    """Give a command the options that say how its queries are embedded."""
    return shared("model", "prompt-name", "prompt", "instruction", "trust-remote-code")(command)
