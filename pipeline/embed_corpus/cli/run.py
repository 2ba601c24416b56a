"""`embed-corpus run`: the whole job in one command."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from embed_corpus.cli._job_file import input_and_output, load_job_file
from embed_corpus.cli._options import job_options
from embed_corpus.errors import Interrupted
from embed_corpus.job.config import JobConfig

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["command"]


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """End at once, while planning or publishing: nothing half-done is visible.

    No exception, because some code that may be under way swallows one, with a traceback.
    """
    os.write(2, f"\n{Interrupted.told}\n".encode())
    os._exit(Interrupted.exit_code)


@click.command("run", params=job_options("run"))
@click.argument("paths", nargs=-1, metavar="INPUT... OUT")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=load_job_file,
    help='Job file in TOML: the same keys as these flags, and input = [...], output = "...". Flags win.',
)
@click.option("--quiet", is_flag=True, help="Only warnings and errors.")
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[str, ...], *, quiet: bool, **options: Any) -> None:
    """Embed INPUT (files, folders, globs of Parquet or JSON lines, these also packed) into OUT.

    Stop it any time: what is finished is safe, and the same line goes on from there.

    \b
    embed-corpus run corpus/ out/
    embed-corpus run 'wiki/*.parquet' out/ --text-column title --text-column body --id-column id
    embed-corpus run --config jobs/nightly.toml --limit 1000

    OUT/data is a plain Parquet dataset with the columns doc_id, chunk_index, char_start,
    char_end, n_tokens, content_hash, kept columns, embedding. Everything else is in OUT/_embed.
    """
    from embed_corpus.execution.run import run
    from embed_corpus.execution.signals import SIGNALS

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    if quiet:
        logging.getLogger("embed_corpus").setLevel(logging.WARNING)
    inputs, output = input_and_output(ctx, paths)
    report = run(JobConfig(input=inputs, output=output, **options), None if quiet else sys.stderr)
    if not quiet:
        click.echo("\n".join(report.lines()))
