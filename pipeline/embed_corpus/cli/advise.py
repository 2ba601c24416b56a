"""`embed-corpus advise`: what dimensions, vector types and indexes would cost and find."""

from __future__ import annotations

from pathlib import Path

import click

from embed_corpus.cli._options import shared

__all__ = ["command"]


@click.command("advise")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--sample", type=click.IntRange(1000), default=5000, show_default=True, metavar="N", help="Vectors to try it on."
)
@shared("target-recall", "model")
def command(out: Path, sample: int, target_recall: float, model: str | None) -> None:
    """Try dimensions, vector types and indexes on a sample of the vectors in OUT, and print what each finds of the
    10 nearest now, what it takes for all rows, and how many queries/s one thread answers (on the sample).

    \b
    embed-corpus advise out/
    """  # noqa: D205
    from embed_corpus.errors import UsageError
    from embed_corpus.index.advise import advise
    from embed_corpus.index.check import check_faiss, check_indexable
    from embed_corpus.index.choose import Request
    from embed_corpus.index.rows import open_vectors
    from embed_corpus.job.output import open_output
    from embed_corpus.sink.snapshot import latest_snapshot

    check_faiss()
    opened = open_output(out)
    snapshot = latest_snapshot(opened.layout)
    if snapshot is None or not snapshot.counts.chunks:
        raise UsageError(f"{out} has no snapshot with vectors yet: let the run come to its end first.")
    facts = opened.facts(model)
    check_indexable(facts.similarity, Request(), facts.dim)
    vectors = open_vectors(opened.layout, snapshot.parts, facts.similarity, normalized=facts.normalize)
    click.echo(
        f"{'dim':>5}  {'vectors':<8}{'index':<13}{'recall@10':>9}{'parts MiB':>11}{'index MiB':>11}{'queries/s':>11}"
    )
    for tried in advise(vectors, sample, target_recall):
        click.echo(
            f"{tried.dim:>5}  {tried.vector_type:<8}{tried.index:<13}{tried.recall:>9.3f}"
            f"{tried.vector_bytes / (1 << 20):>11,.1f}{tried.index_bytes / (1 << 20):>11,.1f}"
            f"{tried.queries_per_second:>11,}"
        )
