"""A job as a TOML file, for `--config`."""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path

import click

from embed_corpus.errors import UsageError

__all__ = ["input_and_output", "load_job_file"]


def load_job_file(ctx: click.Context, _: click.Parameter, file: Path | None) -> None:
    """Make a job file's keys the defaults of the flags of the same name."""
    if file is None:
        return
    try:
        content = tomllib.loads(file.read_text(encoding="utf8"))
    except OSError as error:
        raise UsageError(f"--config {file}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {file} is no valid TOML: {error}.") from error
    flags = {p.opts[-1].lstrip("-"): p for p in ctx.command.params if isinstance(p, click.Option)}
    keys = [key for key in flags if key != "config"] + ["input", "output"]
    for key in content:
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(keys))}."
            raise UsageError(f"--config {file}: unknown key {key!r}; {hint}")
    ctx.obj = {key: content.pop(key) for key in ("input", "output") if key in content}
    ctx.obj["folder"] = file.parent
    model = content.get("model")
    if isinstance(model, str) and (model.startswith(".") or (file.parent / model).is_dir()):
        content["model"] = str(file.parent / model)
    for key, param in flags.items():
        if param.type is click.INT and isinstance(content.get(key), float):  # click would cut it down to a whole one
            raise UsageError(f"--config {file}: {key} = {content[key]}: give a whole number.")
    ctx.default_map = {str(flags[key].name): value for key, value in content.items()}


def input_and_output(ctx: click.Context, paths: tuple[str, ...]) -> tuple[tuple[str, ...], Path]:
    """Tell INPUT and OUT: both from the command line, or both from the job file (relative to it)."""
    if len(paths) > 1:
        return paths[:-1], Path(paths[-1])
    if paths:
        raise UsageError("give INPUT and OUT, or neither and both in --config.")
    job = ctx.obj or {}
    inputs, output = job.get("input"), job.get("output")
    if not isinstance(inputs, list) or not isinstance(output, str) or not all(isinstance(i, str) for i in inputs):
        raise UsageError(
            'INPUT and OUT are missing: embed-corpus run INPUT... OUT, or input = ["…"] and output = "…" in --config.'
        )
    folder: Path = job["folder"]

    def beside(text: str) -> str:
        return os.path.normpath(folder / Path(text).expanduser())

    return tuple(map(beside, inputs)), Path(beside(output))
