"""FAISS' files: read and written, its errors told as ours."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import re
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import OutputError
from embed_corpus.index.copies import ROWS
from embed_corpus.index.effort import inner
from embed_corpus.index.manifest import digest_of
from embed_corpus.index.schema import IndexedFile
from embed_corpus.store.commit import replace
from embed_corpus.store.notes import replace_json
from embed_corpus.store.workshop import clear, facts_of, holds, note, noted, remove, settled_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embed_corpus.index.schema import IndexRecord
    from embed_corpus.store.layout import Layout

__all__ = ["IVF_DATA", "finish", "read_index", "settle", "stored_index", "tidy", "told", "write_index"]

IVF_DATA = "index.ivfdata"
_SETTLED = "index.json"
"""In a working folder: its files are whole, and on their way into place."""


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
    except (RuntimeError, MemoryError) as error:  # a size that is damaged may be terabytes
        raise OutputError(f"{file} is damaged ({told(error)}): `embed-corpus index` makes it anew.") from error
    below = inner(index)
    if isinstance(below, faiss.IndexIVF):
        lists = faiss.downcast_InvertedLists(below.invlists)
        if isinstance(lists, faiss.OnDiskInvertedLists):
            lists.prefetch_nthread = 0  # else it starts 32 threads for every search
    return index


def stored_index(layout: Layout, *, binary: bool) -> Any:
    """Read the index of an OUT.

    Raises:
        OutputError: it is damaged.
    """
    layout.store.local(layout.index / IVF_DATA)  # looked for beside the other, where there is one
    return read_index(layout.store.local(layout.index / "index.faiss"), binary=binary)


def write_index(index: Any, file: Path) -> None:
    """Write an index.

    Raises:
        OutputError: the disk is full, or the like.
    """
    import faiss

    try:
        (faiss.write_index_binary if isinstance(index, faiss.IndexBinary) else faiss.write_index)(index, str(file))
    except RuntimeError as error:
        raise OutputError(f"{file}: the index cannot be written: {told(error)}") from error


def settle(made: dict[str, Path], manifest: IndexRecord, work: Path) -> IndexRecord:
    """Note size and sha256 of finished files in the manifest, and settle in `work` that they are the index."""
    files = {name: IndexedFile(**facts_of(file)) for name, file in made.items()}
    for name, file in made.items():
        replace(file, work / name)
    manifest = dataclasses.replace(manifest, files=files)
    manifest = dataclasses.replace(manifest, sha256=digest_of(manifest.to_json()))
    note(work / _SETTLED, manifest.to_json(), durable=True)
    return manifest


def finish(layout: Layout) -> None:
    """Put the files of an index that is settled in place, index.json last; what a kill left half done is done.

    While index.json is away, there is no index.
    """
    store = layout.store
    for work in settled_in(store.local(layout.indexing), _SETTLED):
        manifest = noted(work / _SETTLED)
        store.delete(layout.index / "index.json")
        for name in manifest["files"]:
            if holds(work / name):
                store.put(work / name, layout.index / name)
        for name in {IVF_DATA, ROWS} - manifest["files"].keys():
            store.delete(layout.index / name)
        replace_json(layout, layout.index / "index.json", manifest, durable=True)
        remove(work)


def tidy(layout: Layout) -> None:
    """Remove the notes of builds, once there is the index that they were for."""
    clear(layout.store.local(layout.indexing))


def told(error: Exception) -> str:
    """Return what FAISS says is wrong, without where in its source that is."""
    return " ".join(re.split(r"\.\w+:\d+: (?:Error: )?", str(error))[-1].split())


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
