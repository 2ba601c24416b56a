"""From INPUT (files, folders, globs) to the list of source files."""

from __future__ import annotations

import glob
import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from embed_corpus.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["SUFFIXES", "Found", "discover", "kind_of"]

SUFFIXES = {
    ".parquet": "parquet",
    **{f"{kind}{packed}": "jsonl" for kind in (".jsonl", ".ndjson") for packed in ("", ".gz", ".zst")},
}
"""File name endings that are read, and as what."""


@dataclass(frozen=True, slots=True)
class Found:
    """A source file: where it lies, and its path relative to the INPUT that named it."""

    path: str
    relative: str


def kind_of(path: Path | str) -> str | None:
    """Return "parquet" or "jsonl" by the file's ending, None for a kind that is not read."""
    name = os.fspath(path).lower()
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix)), None)


def discover(inputs: Iterable[str], output: Path) -> tuple[list[Found], list[str]]:
    """List the source files behind INPUT, sorted by relative path, and the files left out.

    Folders are searched recursively; names starting with `_` or `.` and everything under
    `output` are skipped silently; other kinds of file are returned as left out.

    Raises:
        DataError: an INPUT does not exist, holds nothing to read, is a file of an unknown
            kind, a file comes twice, or two sources share one relative path.
    """
    _resolved.cache_clear()
    try:
        return _discover(inputs, output.resolve())
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, up to Python 3.12
        raise DataError(f"{error}. Mend it, or take it out of INPUT.") from error


def _discover(inputs: Iterable[str], output: Path) -> tuple[list[Found], list[str]]:
    found: dict[str, Found] = {}
    names: dict[str, str] = {}
    left_out: list[str] = []
    for text in inputs:
        readable = 0
        for path, relative in _expand(text, output):
            if kind_of(path) is None:
                left_out.append(path)
                continue
            readable += 1
            try:
                relative.encode()
            except UnicodeEncodeError:
                raise DataError(f"{path!a}: a file name that is no UTF-8 cannot name ids. Rename the file.") from None
            file = _regular(path)
            if names.setdefault(file, relative) != relative:
                raise DataError(
                    f"{path} is in the input twice, as {names[file]!r} and as {relative!r}: every document would be "
                    "embedded twice. Name it once."
                )
            if relative in found and _regular(found[relative].path) != file:
                raise DataError(
                    f"two sources share the relative path {relative!r}: {found[relative].path} and {path}. "
                    "Ids and shards are named by it: give their common folder as the one INPUT."
                )
            found[relative] = Found(path, relative)
        if not readable:
            raise DataError(_nothing_in(text, left_out))
    return sorted(found.values(), key=lambda f: f.relative), left_out


def _regular(path: str) -> str:
    """Resolve a path to the plain file that it must be: a pipe is waited for without end, a device has none."""
    try:
        mode = os.lstat(path).st_mode  # a Path for each file would take half of the time
        if stat.S_ISLNK(mode):
            file = os.path.realpath(path, strict=True)
            mode = os.stat(file).st_mode  # noqa: PTH116
        else:  # a folder is resolved once, not for each of its files
            folder, _, name = path.rpartition("/")
            file = f"{_resolved(folder or ('/' if path[0] == '/' else '.'))}/{name}"
    except FileNotFoundError:
        raise DataError(f"{path} is gone, or a link to nothing. Mend it, or take it out of INPUT.") from None
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is no plain file. Take it out of INPUT.")
    return file


@lru_cache(1024)
def _resolved(folder: str) -> str:
    return os.path.realpath(folder, strict=True).rstrip("/")


def _nothing_in(text: str, left_out: list[str]) -> str:
    others = f" ({len(left_out)} files of other kinds, e.g. {left_out[0]})" if left_out else ""
    return f"INPUT {text!r} holds no source file{others}. Read are {', '.join(SUFFIXES)}."


def _expand(text: str, output: Path) -> Iterator[tuple[str, str]]:
    """Yield (path, relative path) of every file that one INPUT stands for."""
    path = Path(text).expanduser()
    if path.is_dir():
        yield from _walk(path, output)
    elif path.exists() or path.is_symlink():
        if kind_of(path) is None:
            raise DataError(f"INPUT {text!r} is of a kind that is not read. Read are {', '.join(SUFFIXES)}.")
        yield str(path), path.name
    elif glob.has_magic(text):
        yield from _expand_glob(text, output)
    else:
        raise DataError(f"INPUT {text!r} does not exist: check the path (globs may be quoted).")


def _expand_glob(text: str, output: Path) -> Iterator[tuple[str, str]]:
    """Expand a pattern; paths are relative to its part before the first wildcard."""
    pattern = Path(text).expanduser()
    fixed = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    base = Path(*pattern.parts[:fixed])
    matches = sorted(glob.glob(str(pattern), recursive=True))  # noqa: PTH207  # Path.glob refuses absolute patterns
    if not matches:
        raise DataError(f"INPUT {text!r} matches nothing: check the pattern.")
    for match in map(Path, matches):
        hidden = any(part[0] in "_." for part in match.relative_to(base).parts)
        if hidden or output in (match.resolve(), *match.resolve().parents):
            continue
        name = match.relative_to(base).as_posix()
        if match.is_dir():
            yield from ((file, f"{name}/{relative}") for file, relative in _walk(match, output))
        else:
            yield str(match), name


def _walk(folder: Path, output: Path) -> Iterator[tuple[str, str]]:
    """Yield the files below a folder and their paths in it; `_delta_log`, `.git` and the like, and OUT, stay out."""

    def unreadable(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed: {error.strerror}. Allow it, or take it out of INPUT.")

    seen = {folder.resolve()}
    for here, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        entered = []
        for name in sorted(folders):
            real = Path(here, name).resolve()
            if name[0] not in "_." and real != output and real not in seen:  # a link may lead back up
                seen.add(real)
                entered.append(name)
        folders[:] = entered
        inside = (Path(here).relative_to(folder).as_posix() + "/").removeprefix("./")
        begin = str(Path(here, "_"))[:-1]
        for name in sorted(files):
            if name[0] not in "_." and not name.endswith(".crc"):
                yield f"{begin}{name}", f"{inside}{name}"
