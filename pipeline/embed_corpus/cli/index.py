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
    from embed_corpus.errors import UsageError
    from embed_corpus.index.build import build_index
    from embed_corpus.index.check import check_faiss
    from embed_corpus.index.choose import Request, parse_bytes
    from embed_corpus.job.output import open_output
    from embed_corpus.sink.snapshot import latest_snapshot

    request = Request(kind, parse_bytes(max_memory), target_recall, gpu)
    opened = open_output(out)
    snapshot = latest_snapshot(opened.layout)
    if snapshot is None:
        raise UsageError(f"{out} has no snapshot yet: let the run come to its end first.")
    check_faiss()
    facts = opened.facts(model)
    similarity, unit = facts.similarity, facts.normalize
    made = build_index(opened.layout, snapshot, request, similarity=similarity, normalized=unit, stream=sys.stderr)
    if made is None:
        return
    recall, speed = made["recall"], made["queries_per_second"]
    effort = "".join(f", {name} {value}" for name, value in made["effort"].items())
    held = f"{made['vectors']:,} different vectors of {made['rows']:,} chunks" if "vectors" in made else None
    click.echo(f"{made['type']} of {held or '{:,} vectors'.format(made['rows'])} in {opened.layout.index}{effort}")
    click.echo(
        f"recall@1 {recall['1']:.3f}, @10 {recall['10']:.3f}, @100 {recall['100']:.3f} of exact search; "
        f"{speed['batch_on_one_thread']:,} queries/s on one thread; {made['bytes_in_memory'] / (1 << 20):,.0f} MiB"
    )
