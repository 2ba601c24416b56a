"""Look at each source file once: is it readable, has it the columns, where can it be cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from embed_corpus.errors import DataError
from embed_corpus.source.formats.base import UnreadableError, reason_of, refused
from embed_corpus.source.formats.table import format_named, wrong_kind

if TYPE_CHECKING:
    from embed_corpus.source.columns import Columns
    from embed_corpus.source.discover import Found
    from embed_corpus.source.formats.base import Source

__all__ = ["inspect"]


def inspect(found: Found, columns: Columns) -> Source:
    """Read of a file what its format needs to cut it into shards (a footer, or all lines), and check the columns.

    Raises:
        UnreadableError: nothing in the file can be used.
        DataError: the system does not let it be read, or a column is missing or of an unfit type.
    """
    file_format = format_named(found.format)
    try:
        if told := wrong_kind(Path(found.path), found.format):
            raise UnreadableError(refused(found, f"it is {told}"))
        return file_format.inspect(found, columns)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        kind = (
            DataError if isinstance(error, OSError) and error.errno else UnreadableError
        )  # Arrow's own have no number
        raise kind(refused(found, reason_of(error).rstrip("."))) from error
