"""`embed-corpus plan`: what a run would do, before anything is embedded."""

from __future__ import annotations

import json
from typing import Any

import click

from embed_corpus.cli._options import job_options
from embed_corpus.job.config import JobConfig

__all__ = ["command"]


@click.command("plan", params=job_options("plan"))
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--sample",
    type=click.IntRange(10),
    metavar="N",
    help="Documents to tokenise, spread over the whole input.  [default: 1,000; fewer if they are long]",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def command(inputs: tuple[str, ...], *, sample: int | None, as_json: bool, **options: Any) -> None:
    """Say what a run over INPUT would take: documents, tokens, chunks, bytes, batches, and time.

    \b
    embed-corpus plan corpus/ --model Qwen/Qwen3-Embedding-0.6B
    embed-corpus plan 'wiki/*.parquet' --text-column body --chunk-tokens 256 --sample 5000

    Rows and shards are counted; the rest is estimated from a sample, the same one each time, and
    each number tells how far off it may be. Nothing is embedded and no model is loaded. The time
    comes from what runs and `embed-corpus bench` measured on this machine before.
    """
    from embed_corpus.verbs.plan import plan

    report = plan(JobConfig(inputs, **options), sample)
    click.echo(json.dumps(report.to_json()) if as_json else "\n".join(report.lines()))
