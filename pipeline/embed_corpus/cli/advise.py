"""`embed-corpus advise`: what dimensions, vector types and indexes would cost and find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from embed_corpus.cli._options import shared

if TYPE_CHECKING:
    from embed_corpus.verbs.advise import Advice

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
    from embed_corpus.verbs.advise import advise

    heads = iter([_HEAD])  # one: before the first line, and not before an error
    advise(
        out,
        sample,
        target_recall=target_recall,
        model=model,
        tell=lambda advice: click.echo("\n".join([*heads, _line(advice)])),
    )


_HEAD = f"{'dim':>5}  {'vectors':<8}{'index':<13}{'recall@10':>9}{'parts MiB':>11}{'index MiB':>11}{'queries/s':>11}"


def _line(advice: Advice) -> str:
    return (
        f"{advice.dim:>5}  {advice.vector_type:<8}{advice.index:<13}{advice.recall:>9.3f}"
        f"{advice.vector_bytes / (1 << 20):>11,.1f}{advice.index_bytes / (1 << 20):>11,.1f}"
        f"{advice.queries_per_second:>11,}"
    )
