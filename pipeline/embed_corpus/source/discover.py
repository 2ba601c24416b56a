"""From INPUT (files, folders, globs) to the list of source files."""

from __future__ import annotations

import glob
import os
import stat
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from embed_corpus.errors import DataError
from embed_corpus.source.formats.table import ENDINGS, NAMED_BY_FLAG, format_of, why_no_data
from embed_corpus.source.tables import Grounds, ResultError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["Found", "discover", "told_left_out"]


@dataclass(frozen=True, slots=True)
class Found:
    """A source file: where it lies, its path relative to the INPUT that named it, and the format it is read as."""

    path: str
    relative: str
    format: str


def discover(
    inputs: Iterable[str], output: Path | None, form: str | None = None, text: Sequence[str] = ()
) -> tuple[list[Found], dict[str, str]]:
    """List the source files behind INPUT, sorted by relative path, and the files left out, each with its kind.

    Folders are searched recursively; names starting with `_` or `.` and everything under
    `output` (None: there is none) are skipped silently; files of other kinds are left out, unless `form` says
    what those are whose endings say nothing. A `.json` in a folder is read if it holds JSON
    lines, which a single object with a column of `text` may be.

    Raises:
        DataError: an INPUT does not exist, holds nothing to read, is a file of an unknown
            kind, a table, a result or (in) OUT; a file comes twice, or two sources share one relative path.
    """
    _resolved.cache_clear()
    try:
        return _discover(list(inputs), (output or Path(os.devnull)).resolve(), form, text)
    except (_NothingError, ResultError) as error:
        raise DataError(f"{error}{_swapped(output) if output else ''}") from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, up to Python 3.12
        raise DataError(f"{error}. Mend it, or take it out of INPUT.") from error


class _NothingError(DataError):
    """An INPUT that gives nothing: perhaps it is OUT that was meant."""


def _swapped(output: Path) -> str:
    """Ask whether the arguments are swapped, if it looks like that."""
    if (output / "_embed").exists() or not output.exists():
        return ""
    try:
        sources = [path for path, _, _ in _expand(str(output), Path(os.devnull), Grounds(Path(os.devnull)))]
    except (DataError, OSError, RuntimeError):
        return ""
    if not any(map(format_of, sources)):
        return ""
    return f" OUT {output} holds source files: are the arguments swapped? (embed-corpus run INPUT... OUT)"


def _discover(
    inputs: Sequence[str], output: Path, form: str | None, text: Sequence[str]
) -> tuple[list[Found], dict[str, str]]:
    found: dict[str, Found] = {}
    names: dict[str, str] = {}
    left_out: dict[str, str] = {}
    grounds = Grounds(output)
    for named in inputs:
        taken: list[tuple[str, str, str]] = []
        doubtful: list[tuple[str, str, str]] = []
        for path, relative, outright in _expand(named, output, grounds):
            kind = format_of(path) or form
            if kind is None and outright:
                raise DataError(
                    f"INPUT {named!r} is of a kind that is not read. Read are {ENDINGS}; others with {NAMED_BY_FLAG}."
                )
            if kind is None:
                left_out[path] = os.path.splitext(path)[1].lower()  # noqa: PTH122
            elif outright or form == kind or (why := why_no_data(path, text)) is None:
                taken.append((path, relative, kind))
            else:
                doubtful.append((path, relative, kind))
                left_out[path] = why
        if not taken:
            if len(left_out) > len(doubtful) or not doubtful:
                raise _NothingError(_nothing_in(named, left_out, {path for path, _, _ in doubtful}))
            taken = doubtful  # nothing else is there, so they are meant, and what is wrong with them is told
            for path, _, _ in doubtful:
                del left_out[path]
        for path, relative, kind in taken:
            try:
                relative.encode()
            except UnicodeEncodeError:
                raise DataError(f"{path!a}: a file name that is no UTF-8 cannot name ids. Rename the file.") from None
            file = _regular(path)
            grounds.check_up(os.path.dirname(file))  # noqa: PTH120
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
            found[relative] = Found(path, relative, kind)
    return sorted(found.values(), key=lambda f: f.relative), left_out


def told_left_out(left_out: dict[str, str]) -> str:
    """Say which files are left out, by kind and count, with one of each kind named."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for path, kind in left_out.items():
        kinds[kind].append(path)
    told = [
        f"{len(paths):,} {kind or 'without ending' if kind[:1] in ('', '.') else f'with {kind} inside'}, "
        f"e.g. {paths[0]}"
        for kind, paths in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]
    more = f"; and {len(told) - 8} kinds more" if len(told) > 8 else ""
    remedy = f". With {NAMED_BY_FLAG} files are read whose endings say nothing"
    return f"left out {len(left_out):,} files: {'; '.join(told[:8])}{more}{remedy}."


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


def _nothing_in(text: str, left_out: dict[str, str], doubtful: set[str]) -> str:
    others = f" ({len(left_out)} files of other kinds, e.g. {next(iter(left_out))})" if left_out else ""
    others += "".join(f"; {path} holds {left_out[path]}" for path in sorted(doubtful)[:3])
    return f"INPUT {text!r} holds no source file{others}. Read are {ENDINGS}; others with {NAMED_BY_FLAG}."


def _expand(text: str, output: Path, grounds: Grounds) -> Iterator[tuple[str, str, bool]]:
    """Yield path, relative path and whether it was named outright of every file that one INPUT stands for."""
    path = Path(text).expanduser()
    if path.is_dir():
        grounds.check_up(str(path.resolve()))
        yield from _walk(path, output, grounds)
    elif path.exists() or path.is_symlink():
        yield str(path), path.name, True
    elif glob.has_magic(text):
        yield from _expand_glob(text, output, grounds)
    else:
        raise _NothingError(f"INPUT {text!r} does not exist: check the path (globs may be quoted).")


def _expand_glob(text: str, output: Path, grounds: Grounds) -> Iterator[tuple[str, str, bool]]:
    """Expand a pattern; paths are relative to its part before the first wildcard."""
    pattern = Path(text).expanduser()
    fixed = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    base = Path(*pattern.parts[:fixed])
    matches = sorted(glob.glob(str(pattern), recursive=True))  # noqa: PTH207  # Path.glob refuses absolute patterns
    if not matches:
        raise _NothingError(f"INPUT {text!r} matches nothing: check the pattern.")
    grounds.check_up(str(base.resolve()))
    outright = ".json" in pattern.name
    for match in map(Path, matches):
        hidden = any(part[0] in "_." for part in match.relative_to(base).parts)
        if hidden or output in (match.resolve(), *match.resolve().parents):
            continue
        name = match.relative_to(base).as_posix()
        if match.is_dir():
            below = _walk(match, output, grounds)
            yield from ((file, f"{name}/{relative}", named) for file, relative, named in below)
        else:
            yield str(match), name, outright


def _walk(folder: Path, output: Path, grounds: Grounds) -> Iterator[tuple[str, str, bool]]:
    """Yield the files below a folder and their paths in it; `.git` and the like, and OUT, stay out."""

    def unreadable(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be listed: {error.strerror}. Allow it, or take it out of INPUT.")

    seen = {folder.resolve()}
    for here, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        grounds.check(here, folders)
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
                yield f"{begin}{name}", f"{inside}{name}", False
