"""`embed-corpus status`: how far a result is."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.command("status")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--rejects", is_flag=True, help="List every rejected row instead, one JSON object a line.")
def command(out: Path, *, rejects: bool) -> None:
    """Tell how far the result in OUT is: parts done and left, rows, rejects. Takes no lock.

    \b
    embed-corpus status out/
    embed-corpus status out/ --rejects | head
    """
    from embed_corpus.verbs import status as verbs

    if rejects:
        for reject in verbs.rejects(out):
            click.echo(json.dumps(reject, ensure_ascii=False))
        return
    click.echo("\n".join(verbs.status(out).lines()))
