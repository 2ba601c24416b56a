"""Paths that are no UTF-8: Python takes any bytes, Arrow, FAISS and safetensors do not."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embed_corpus.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["arrow_file", "check_utf8", "is_utf8"]


def is_utf8(path: str | Path) -> bool:
    """Whether Python and the libraries that want UTF-8 mean the same file by a path."""
    try:
        return os.fsencode(path) == str(path).encode()
    except UnicodeEncodeError:
        return False


def check_utf8(what: str, path: str | Path) -> None:
    """Check that libraries which want UTF-8 can use a path; `what` it is stands in the message.

    Raises:
        UsageError: they cannot.
    """
    if is_utf8(path):
        return
    try:
        os.fsencode(path).decode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        remedy = "rename it, or name it by a link whose path is UTF-8"
    else:
        remedy = f"set LC_ALL=C.UTF-8, by the locale of now file names are {sys.getfilesystemencoding()}"
    raise UsageError(f"{what} {str(path)!a}: a path that is no UTF-8 cannot be used there: {remedy}.")


@contextmanager
def arrow_file(path: str) -> Iterator[str | BinaryIO]:
    """Give what Arrow can read a file by: its path, or the open file where Arrow would not take that."""
    if is_utf8(path):
        yield path
        return
    with open(path, "rb") as file:  # noqa: PTH123  # as everywhere on the way of many files
        yield file
