"""A job as a TOML file, for `--config`."""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any

import click

from embed_corpus.errors import UsageError
from embed_corpus.job.config import JobConfig
from embed_corpus.job.options.forms import wanted_form
from embed_corpus.job.options.option import options_of

__all__ = ["input_and_output", "load_job_file"]


def load_job_file(ctx: click.Context, _: click.Parameter, file: Path | None) -> None:
    """Make a job file's keys the defaults of the flags of the same name."""
    if file is None:
        return
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"--config {file}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of 5,000 digits, lists in lists in …
        raise UsageError(f"--config {file} is no valid TOML: {error}.") from error
    flags = {p.opts[-1].lstrip("-"): p for p in ctx.command.params if isinstance(p, click.Option)}
    keys = [key for key in flags if key != "config"] + ["input", "output"]
    for key in content:
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(keys))}."
            raise UsageError(f"--config {file}: unknown key {key!r}; {hint}")
    content = {key: _checked(file, key, value) for key, value in content.items()}
    ctx.obj = {key: content.pop(key) for key in ("input", "output") if key in content}
    ctx.obj["folder"] = file.parent
    model = content.get("model")
    if isinstance(model, str) and (model.startswith(".") or os.path.isdir(file.parent / model)):  # noqa: PTH112  # raises for no text
        content["model"] = str(file.parent / model)
    ctx.default_map = {str(flags[key].name): value for key, value in content.items()}


def _checked(file: Path, key: str, value: Any) -> Any:
    """Return a key's value as its option takes it; one INPUT may stand alone.

    Raises:
        UsageError: it is of another kind.
    """
    name = key.replace("-", "_")
    declared = options_of(JobConfig).get(name)
    kind = declared.kind if declared else bool  # --quiet is the command's own
    if key == "input" and isinstance(value, str):
        value = [value]
    if wrong := wanted_form(name, kind, value, toml=True):
        raise UsageError(f"--config {file}, {key}: {wrong}.")
    return value


def input_and_output(ctx: click.Context, paths: tuple[str, ...]) -> tuple[tuple[str, ...], Path]:
    """Tell INPUT and OUT: both from the command line, or both from the job file (relative to it)."""
    if len(paths) > 1:
        return paths[:-1], Path(paths[-1])
    if paths:
        raise UsageError("give INPUT and OUT, or neither and both in --config.")
    job = ctx.obj or {}
    inputs, output = job.get("input"), job.get("output")
    if inputs is None or output is None:
        raise UsageError(
            'INPUT and OUT are missing: embed-corpus run INPUT... OUT, or input = ["…"] and output = "…" in --config.'
        )
    folder: Path = job["folder"]

    def beside(text: str) -> str:
        return os.path.normpath(folder / Path(text).expanduser())

    return tuple(map(beside, inputs)), Path(beside(output))
