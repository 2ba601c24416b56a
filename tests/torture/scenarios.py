"""The faults, as a table: where they strike, and how a run may end under them."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from torture.herd import KILL

DONE, MODEL, BAD_INPUT, CANNOT_WRITE = 0, 2, 4, 74


@dataclass(frozen=True)
class FileFault:
    """A kind of call on paths below a folder of OUT (or of the input) fails.

    Attributes:
        below: folder, relative to OUT; "<corpus>" or "<model>": these.
        lasting: from some call on all fail, not that one alone.
        codes: exit codes that the documentation gives for it.
    """

    op: str
    error: int
    below: str
    codes: frozenset[int]
    lasting: bool = False

    @property
    def name(self) -> str:
        """Say what fails, where."""
        what = "killed" if self.error == KILL else errno.errorcode[self.error]
        return f"{self.op} {self.below or 'OUT'}: {what}{', from then on' if self.lasting else ''}"


def _of(op: str, error: int, below: str, *codes: int, lasting: bool = False) -> FileFault:
    return FileFault(op, error, below, frozenset(codes or {CANNOT_WRITE}), lasting)


TMP, DATA, NOTES = "_embed/tmp", "data", "_embed"
FILE_FAULTS = (
    _of("create", errno.ENOSPC, TMP),
    _of("create", errno.EACCES, TMP),
    _of("create", errno.EROFS, TMP, lasting=True),
    _of("create", errno.EMFILE, TMP),
    _of("write", errno.ENOSPC, TMP),
    _of("write", errno.ENOSPC, TMP, lasting=True),
    _of("write", errno.EDQUOT, TMP),
    _of("write", errno.EIO, TMP),
    _of("write", errno.ESTALE, TMP),
    _of("read", errno.EIO, TMP),
    _of("fsync", errno.EIO, TMP),
    _of("fsync", errno.ENOSPC, TMP),
    _of("unlink", errno.EIO, TMP),
    _of("unlink", errno.EROFS, TMP, lasting=True),
    _of("flock", errno.ENOLCK, TMP, DONE, lasting=True),
    _of("mkdir", errno.ENOSPC, NOTES, DONE, CANNOT_WRITE),  # no matter where it is there
    _of("mkdir", errno.EROFS, DATA, DONE, CANNOT_WRITE),
    _of("link", errno.ENOSPC, DATA),
    _of("link", errno.EROFS, DATA),
    _of("link", errno.ESTALE, DATA),
    _of("link", errno.EIO, DATA),
    _of("link", errno.EPERM, DATA, DONE, lasting=True),  # then it is renamed
    _of("link", errno.EIO, NOTES, DONE, CANNOT_WRITE),  # no matter where it would be a claim
    _of("link", errno.EIO, "_embed/snapshots"),
    _of("fsync", errno.EIO, DATA),
    _of("fsync", errno.EIO, "_embed/snapshots"),
    _of("fsync", errno.EIO, "_embed/rejects"),
    _of("rename", errno.EIO, "_embed/stats"),
    _of("rename", errno.ENOSPC, NOTES),
    _of("*", errno.EIO, "", lasting=True),
    _of("*", errno.ENOSPC, "", lasting=True),
    _of("*", KILL, TMP, DONE, -9),
    _of("*", KILL, DATA, DONE, -9),
    _of("open", errno.ESTALE, "<corpus>", BAD_INPUT),
    _of("read", errno.EIO, "<corpus>", BAD_INPUT),
    _of("open", errno.EIO, "<model>", MODEL, DONE),  # the last two looks at it only serve the report
)
