"""`embed-corpus verify`: check a result."""

from __future__ import annotations

from pathlib import Path

import click

from embed_corpus.errors import OutputError

__all__ = ["command"]


@click.command("verify")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=32,
    show_default=True,
    metavar="N",
    help="Chunks to embed again from their sources; 0: none.",
)
@click.option("--model", metavar="NAME", help="Where the job's model lies now, if it has moved.")
def command(out: Path, sample: int, model: str | None) -> None:
    """Check the result in OUT: counts add up, files are undamaged, vectors are finite and of unit
    length, and a random sample embedded again from its source gives the same vectors (the same
    bytes on the same hardware and versions, else a cosine of 0.999 at least).

    Ends with exit code 74 if anything is wrong.
    """  # noqa: D205
    from embed_corpus.job.reopen import open_output
    from embed_corpus.job.verify import verify

    failed = []
    for check in verify(open_output(out), sample, model):
        click.echo(f"{'ok' if check.ok else 'FAIL':<5} {check.name:<11} {check.detail}")
        if not check.ok:
            failed.append(check.name)
    if failed:
        raise OutputError(f"{out} is not sound: {', '.join(failed)}.")
