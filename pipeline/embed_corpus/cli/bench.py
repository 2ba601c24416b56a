"""`embed-corpus bench`: the encoder alone, on this machine."""

from __future__ import annotations

import json
from typing import Any

import click

from embed_corpus.cli._options import job_options
from embed_corpus.errors import EmbedCorpusError
from embed_corpus.job.config import JobConfig

__all__ = ["command"]


@click.command("bench", params=job_options("bench", devices="The first of these is measured."))
@click.argument("inputs", nargs=-1, metavar="[INPUT...]")
@click.option(
    "--tokens", type=click.IntRange(1), metavar="N", help="Tokens of a pass.  [default: 2,000,000; 20,000 on a CPU]"
)
@click.option("--rounds", type=click.IntRange(0), default=3, show_default=True, help="Timed passes; the median counts.")
@click.option("--check-reproducible", is_flag=True, help="Compare bits over orders, budgets and fresh processes.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def command(
    inputs: tuple[str, ...],
    *,
    tokens: int | None,
    rounds: int,
    check_reproducible: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Time the model over chunks of INPUT (or made-up ones): tokens/s, share of what the device can do, memory.

    \b
    embed-corpus bench --model Qwen/Qwen3-Embedding-0.6B
    embed-corpus bench corpus/ --model BAAI/bge-base-en-v1.5 --check-reproducible

    Reading and tokenising are not timed. Ends with exit code 1 if bits differ.
    """
    from embed_corpus.verbs.bench import bench

    report = bench(
        JobConfig(inputs, **options),
        tokens,
        rounds,
        check_reproducible=check_reproducible,
        tell=None if as_json else lambda part: click.echo("\n".join(part.lines())),
    )
    if as_json:
        click.echo(json.dumps(report.to_json()))
    if report.differ:
        raise EmbedCorpusError(f"vectors are not bit-reproducible on this machine: {', '.join(report.differ)}.")
