"""What stands in a folder under the name of a source and is none, or does not stay one."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from hostile import WITH_ID, Case, holding
from kit.source_files import write_jsonl, write_parquet

ROW = {"id": "a", "text": "x"}


def append(file: Path) -> None:
    """Make a file longer."""
    file.write_bytes(file.read_bytes() + b'{"text": "late"}\n')


def names() -> Iterator[Case]:
    """Any name that the file system allows; the id is made of it."""
    for what, name in {
        "newline-in-name": "a\nb.jsonl",
        "unicode-name": "\u540d\u524d \U0001f600 e\u0301.jsonl",
        "long-name": "n" * 249 + ".jsonl",
        "percent-name": "50%25 %s {0}.jsonl",
        "hash-name": "a#0.jsonl",
        "dash-name": "--limit.jsonl",
        "escape-in-name": "\x1b[31m.jsonl",
        "backslash-name": "a\\..\\b.jsonl",
    }.items():
        yield Case(what, lambda folder, name=name: write_jsonl(folder / name, ROW), texts=["x"])
    yield Case("folder-named-as-file", lambda f: write_jsonl(f / "a.parquet" / "b.jsonl", ROW), texts=["x"])
    yield Case("name-not-utf8", lambda f: write_jsonl(f / os.fsdecode(b"\xff.jsonl"), ROW), "Rename the file", "a")


def no_files() -> Iterator[Case]:
    """Pipes, sockets, devices, links that lead nowhere: never opened, always named."""
    plain, mend = "is no plain file", "link to nothing"

    def listen(folder: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(folder)  # a socket's path has 107 bytes at most
            server.bind("a.jsonl")
            os.chdir(here)

    yield Case("fifo", lambda f: os.mkfifo(f / "a.jsonl"), plain, "a.jsonl")
    if os.geteuid():  # root may read everything

        def locked(folder: Path) -> None:
            write_jsonl(folder / "a.jsonl", ROW).chmod(0)

        yield Case("unreadable", locked, "Permission denied", "a.jsonl")
    yield Case("socket", listen, plain, "a.jsonl")
    yield Case("device", lambda f: (f / "a.jsonl").symlink_to("/dev/zero"), plain, "a.jsonl")
    yield Case("link-to-nothing", lambda f: (f / "a.jsonl").symlink_to("gone"), mend, "a.jsonl")
    yield Case("link-to-itself", lambda f: (f / "a.jsonl").symlink_to("a.jsonl"), "Mend it", "a.jsonl")
    yield Case("link-to-a-folder", lambda f: (f / "a.jsonl").symlink_to("."), "holds no source file", "link-to-a")

    def ring(folder: Path) -> None:
        write_jsonl(folder / "sub" / "a.jsonl", ROW)
        (folder / "sub" / "up").symlink_to(folder)

    yield Case("ring-of-folders", ring, texts=["x"])


def changes() -> Iterator[Case]:
    """A file that is another one, or none, when it is read."""

    def jsonl(folder: Path) -> None:
        write_jsonl(folder / "a.jsonl", *[ROW] * 3)
        os.utime(folder / "a.jsonl", (1, 1))

    def parquet(folder: Path) -> None:
        write_parquet(folder / "a.parquet", {"id": ["a", "b"], "text": ["x", "y"]})
        os.utime(folder / "a.parquet", (1, 1))

    made = {"a.jsonl": jsonl, "a.parquet": parquet}
    for name, make in made.items():
        gone = Case(f"vanishes-{name}", make, "No such file", name, between=lambda f, n=name: (f / n).unlink())
        longer = Case(f"grows-{name}", make, "", name, between=lambda f, n=name: append(f / n))
        shorter = Case(f"emptied-{name}", make, "", name, between=lambda f, n=name: (f / n).write_bytes(b""))
        touched = Case(
            f"touched-{name}", make, "changed during the run", name, between=lambda f, n=name: os.utime(f / n)
        )
        yield from (gone, longer, shorter, touched)
    other = {
        "other-columns": {"body": ["x", "y"]},
        "other-types": {"text": [["x"], ["y"]]},
        "fewer-rows": {"text": ["x"]},
    }
    for what, table in other.items():
        yield Case(
            f"{what}-later", parquet, "", "a.parquet", between=lambda f, t=table: write_parquet(f / "a.parquet", t)
        )


def together() -> Iterator[Case]:
    """Files that are fine each, and do not fit each other."""

    def ids_again(folder: Path) -> None:  # across files they are found by the run, not while reading
        for name in ("a.jsonl", "b.jsonl"):
            write_jsonl(folder / name, ROW)

    yield Case("ids-across-files", ids_again, texts=["x", "x"], columns=WITH_ID)

    def ids_of_two_types(folder: Path) -> None:
        write_parquet(folder / "a.parquet", {"id": [1, 2], "text": ["x", "y"]})
        write_parquet(folder / "b.parquet", {"id": ["1", None], "text": ["x", "y"]})

    yield Case("ids-of-two-types", ids_of_two_types, None, "", ["x", "y", "x"], {"no_id": 1}, columns=WITH_ID)
    for what, table, says in [
        ("column-missing-in-second", {"body": ["x"]}, "has no column 'text'. It has: body"),
        ("other-case-in-second", {"Text": ["x"]}, "has no column 'text'. It has: Text"),
        ("other-type-in-second", {"text": [1]}, "'text' is of type int64, not text"),
    ]:

        def drift(folder: Path, table: dict[str, list[object]] = table) -> None:
            write_parquet(folder / "a.parquet", {"text": ["x"]})
            write_parquet(folder / "b.parquet", table)

        yield Case(what, drift, says, "b.parquet")


def other_kinds() -> Iterator[Case]:
    """What really stands under a source's name."""
    kinds = {
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "run `git lfs pull`"),
        "html": (b"<!DOCTYPE html>\n<html><title>503</title></html>\n", "an HTML page"),
        "xml": (b'<?xml version="1.0"?>\n<Error><Code>NoSuchKey</Code></Error>\n', "an XML document"),
        "sqlite": (b"SQLite format 3\0" + bytes(4080), "a SQLite database"),
        "zip": (b"PK\x03\x04" + bytes(99), "a zip archive"),
        "zeros": (bytes(4096), "nothing but zero bytes"),
    }
    for what, (content, says) in kinds.items():
        for name in ("a.parquet", "a.jsonl", "a.json", "a.jsonl.gz"):
            yield Case(f"{what}-as-{name}", holding(name, content), f"cannot be read: it is .*{says}", name)
        inside = holding("a.jsonl.gz", gzip.compress(content))
        yield Case(f"{what}-packed", inside, f"inside it is .*{says}", "a.jsonl.gz")


def cases() -> Iterator[Case]:
    """Every one of them."""
    for family in (names, no_files, changes, together, other_kinds):
        yield from family()
