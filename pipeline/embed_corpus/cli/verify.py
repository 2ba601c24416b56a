"""`embed-corpus verify`: check a result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from embed_corpus.cli._options import shared
from embed_corpus.errors import Interrupted, OutputError

if TYPE_CHECKING:
    from embed_corpus.verbs.verify import Check

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
@shared("model", "trust-remote-code")
@click.option(
    "--repair", is_flag=True, help="Move damaged parts to OUT/_embed/quarantine; the run's line again redoes them."
)
def command(out: Path, sample: int, model: str | None, *, trust_remote_code: bool, repair: bool) -> None:
    """Check the result in OUT: counts add up, files are undamaged, vectors are finite and of unit
    length, and a random sample embedded again from its source gives the same vectors (the same
    bytes on the same hardware and versions, else a cosine of 0.999 at least).

    Ends with exit code 74 if anything is wrong; with --repair, 75 if parts were set aside: run the
    same line again, it redoes those alone.
    """  # noqa: D205
    if repair:
        from embed_corpus.verbs.repair import repair as set_aside

        aside = set_aside(out)
        click.echo("".join(f"aside {reason}\n" for reason in aside.reasons), nl=False)
        if aside.reasons:
            raise Interrupted(f"{len(aside.reasons)} parts are in {aside.quarantine}: run the same line again.")
    from embed_corpus.verbs.verify import verify

    found = verify(out, sample, model=model, trust_remote_code=trust_remote_code, tell=_print)
    if not found.ok:
        raise OutputError(f"{out} is not sound: {', '.join(found.failed)}.")


def _print(check: Check) -> None:
    click.echo(f"{'ok' if check.ok else 'FAIL':<5} {check.name:<11} {check.detail}")
