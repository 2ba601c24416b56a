"""`embed-corpus model`: what its files say and how it would run."""

from __future__ import annotations

import json
from typing import Any

import click

from embed_corpus.model.facts import POOLINGS

__all__ = ["command"]


@click.command("model")
@click.argument("name", required=False)
@click.option("--revision", metavar="COMMIT", help="As in `run`.")
@click.option("--trust-remote-code", is_flag=True, help="As in `run`.")
@click.option("--pooling", type=click.Choice(POOLINGS), help="As in `run`.")
@click.option("--devices", default="all", show_default=True, metavar="all|cpu|0", help="The first of these loads it.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "fp16", "bf16"]),
    default="auto",
    show_default=True,
    help="As in `run`.",
)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def command(name: str | None, *, as_json: bool, **options: Any) -> None:
    """Say what the model NAME (a folder or a hub id; without, the bundled MiniLM) is: family, modules, prompts,
    limit, tokenizer, parameters, FLOPs; and, once it has taken the self-test, whether texts run packed or
    padded, and why.

    \b
    embed-corpus model intfloat/multilingual-e5-small
    embed-corpus model ./my-model --pooling cls --json
    """  # noqa: D205
    from embed_corpus.verbs.model import describe_model

    told = describe_model(name, **options)
    click.echo(json.dumps(told.to_json()) if as_json else "\n".join(told.lines()))
