"""Check a result: counts, files, vectors, and a sample embedded again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embed_corpus.job.output import open_output
from embed_corpus.verbs.checks import Check, checks

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

__all__ = ["Check", "Verification", "verify"]


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` saw of an OUT: every check, in order."""

    output: Path
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that did not hold."""
        return tuple(check.name for check in self.checks if not check.ok)


def verify(
    out: str | os.PathLike[str],
    sample: int = 32,
    *,
    model: str | None = None,
    trust_remote_code: bool = False,
    tell: Callable[[Check], object] | None = None,
) -> Verification:
    """Check that counts add up, files are undamaged, vectors are sound, and a sample is embedded to the same again.

    A check that does not hold is a result, no error: look at `ok`.

    Args:
        out: the OUT of a run.
        sample: chunks that are embedded again from their sources; 0: none.
        model: where the job's model lies now, if it has moved.
        trust_remote_code: run the model's own Python code, as `run` was allowed to.
        tell: called with each check as soon as it is done.

    Raises:
        UsageError: the folder is no OUT. OutputError: there is no snapshot yet.
        ModelError, UsageError: the model is gone or another one (with a `sample`).
    """
    done = []
    for check in checks(open_output(Path(out)), sample, model, remote_code=trust_remote_code):
        if tell is not None:
            tell(check)
        done.append(check)
    return Verification(Path(out), tuple(done))
