"""FAISS' files: read and written, its errors told as ours."""

from __future__ import annotations

import contextlib
import ctypes
import os
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import OutputError
from embed_corpus.index.effort import inner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["IVF_DATA", "read_index", "write_index"]

IVF_DATA = "index.ivfdata"


def read_index(file: Path, *, binary: bool) -> Any:
    """Read an index; lists that lie in a file of their own, in the same folder, are mapped.

    Raises:
        OutputError: it is damaged.
    """
    import faiss

    try:
        if binary:
            return faiss.read_index_binary(str(file))
        with _silent():
            index = faiss.read_index(str(file), faiss.IO_FLAG_ONDISK_SAME_DIR)
    except RuntimeError as error:
        raise OutputError(f"{file} is damaged ({_last(error)}): `embed-corpus index` makes it anew.") from error
    below = inner(index)
    if isinstance(below, faiss.IndexIVF):
        lists = faiss.downcast_InvertedLists(below.invlists)
        if isinstance(lists, faiss.OnDiskInvertedLists):
            lists.prefetch_nthread = 0  # else it starts 32 threads for every search
    return index


def write_index(index: Any, file: Path) -> None:
    """Write an index.

    Raises:
        OutputError: the disk is full, or the like.
    """
    import faiss

    try:
        (faiss.write_index_binary if isinstance(index, faiss.IndexBinary) else faiss.write_index)(index, str(file))
    except RuntimeError as error:
        raise OutputError(f"{file}: the index cannot be written: {_last(error)}") from error


def _last(error: RuntimeError) -> str:
    return str(error).rsplit("Error: ", 1)[-1].strip()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep FAISS from printing where it found the lists' file: standard output is the user's."""
    flush = ctypes.CDLL(None).fflush
    flush(None)
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
        flush(None)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
