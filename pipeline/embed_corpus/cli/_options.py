"""Options of commands: those of a job as `JobConfig` declares them, and those that several other commands have."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import click

from embed_corpus.job.config import GROUPS, JobConfig
from embed_corpus.job.options.option import options_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from embed_corpus.job.options.option import Declared

    Command = Callable[..., None]

__all__ = ["job_options", "query_options", "shared"]


def job_options(command: str, **helps: str) -> list[click.Parameter]:
    """Return the options of a job that a command takes, group by group; some with another help text here."""
    declared = sorted(options_of(JobConfig).values(), key=lambda each: GROUPS.index(each.group))
    taken = [d for d in declared if d.option.flag and (command == "run" or command in d.option.also.split())]
    return [click.Option([each.flag], **_how(each, helps.get(each.name, each.help))) for each in taken]


def _how(declared: Declared, text: str) -> dict[str, Any]:
    """Say to click what an option is."""
    option, kind = declared.option, declared.kind
    how: dict[str, Any] = {"help": text, "default": declared.default, "metavar": option.value}
    if kind is bool:
        how["is_flag"] = True
    elif kind is tuple:
        how["multiple"] = True
    else:
        how["type"] = click.Choice(declared.choices) if declared.choices else kind
        how["show_default"] = declared.default is not None
    return how


_OTHERS = {
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
}


def shared(*names: str) -> Callable[[Command], Command]:
    """Give a command some of these options, or of a job's as they are in `run`, in this order."""
    job = {declared.key: declared for declared in options_of(JobConfig).values()}

    def given(command: Command, name: str) -> Command:
        if name in _OTHERS:
            return _OTHERS[name](command)
        return click.option(job[name].flag, **_how(job[name], job[name].help))(command)

    return lambda command: reduce(given, reversed(names), command)


def query_options(command: Command) -> Command:
    """Give a command the options that say how its queries are embedded."""
    return shared("model", "prompt-name", "prompt", "instruction", "trust-remote-code")(command)
