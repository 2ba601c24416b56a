"""`embed-corpus index`: build an index over a finished result."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from embed_corpus.cli._options import shared

__all__ = ["command"]


@click.command("index")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--type",
    "kind",
    default="auto",
    show_default=True,
    metavar="TYPE",
    help="auto, flat (exact), hnsw, ivf, ivfpq, or a FAISS factory string such as IVF4096,SQ8.",
)
@shared("max-memory", "target-recall")
@click.option(
    "--gpu",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Train and add on GPUs, where faiss-gpu is installed.",
)
@shared("model")
def command(out: Path, kind: str, max_memory: str, target_recall: float, gpu: str, model: str | None) -> None:
    """Build the index of the result in OUT, or extend it by the parts that are new; measure it on vectors that it
    was not trained on, tune it to the recall asked for, and write all that to OUT/index/index.json.

    Stopped at any time, the same line goes on where it was. Where auto's type misses the recall asked
    for, the next is built; a type that you name is kept, with a warning, and ends with 0.

    \b
    embed-corpus index out/ --max-memory 4GB
    """  # noqa: D205
    from embed_corpus.verbs.index import build_index

    report = build_index(
        out, kind, max_memory=max_memory, target_recall=target_recall, gpu=gpu, model=model, progress=sys.stderr
    )
    if report is not None:
        click.echo("\n".join(report.lines()))
