"""Folders of this machine in which something is made for OUT: what is done when it is killed is not done again."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

from embed_corpus.store.commit import attempt, replace

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "bytes_in",
    "clear",
    "facts_of",
    "free_bytes",
    "holds",
    "note",
    "noted",
    "remove",
    "settled_in",
    "take_place",
]


def take_place(work: Path) -> None:
    """Begin to work in a folder, or go on: others beside it go, and in it what killed attempts left.

    Files beside it stay: they are notes.
    """
    work.mkdir(parents=True, exist_ok=True)
    for other in work.parent.iterdir():
        if other != work and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
    for killed in work.glob(f"*.{'[0-9a-f]' * 32}"):
        killed.unlink()


def clear(folder: Path) -> None:
    """Remove the files that lie right in a folder."""
    for file in folder.iterdir():
        if file.is_file():
            file.unlink()


def remove(folder: Path) -> None:
    """Remove a folder and all in it."""
    shutil.rmtree(folder)


def holds(file: Path, n_bytes: int | None = None) -> bool:
    """Whether a file is there, and of so many bytes."""
    return file.exists() and n_bytes in {None, file.stat().st_size}


def bytes_in(folder: Path, pattern: str) -> int:
    """Return the bytes of all files of a folder that match."""
    return sum(file.stat().st_size for file in folder.glob(pattern))


def free_bytes(folder: Path) -> int | None:
    """Return how much the disk of a folder still takes; None if it does not tell."""
    total, _, free = shutil.disk_usage(folder)
    return free if total else None


def facts_of(file: Path) -> dict[str, Any]:
    """Return size and sha256 of a file."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"bytes": file.stat().st_size, "sha256": digest}


def note(file: Path, content: dict[str, Any], *, durable: bool = False) -> None:
    """Write a JSON file whole or not at all; unless `durable`, one that a power cut may take."""
    with attempt(file.parent, file.name) as made:
        made.write_text(json.dumps(content, indent=1) + "\n", encoding="utf8")
        replace(made, file) if durable else made.replace(file)


def noted(file: Path) -> dict[str, Any]:
    """Read what was noted; nothing if nothing was."""
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf8")) if file.exists() else {}
    return content


def settled_in(folder: Path, name: str) -> list[Path]:
    """Return the folders below one that hold a file of this name."""
    return [file.parent for file in folder.glob(f"*/{name}")]
