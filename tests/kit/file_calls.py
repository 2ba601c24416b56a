"""Which calls of a module go to the file system, by the names that Python gives them."""

from __future__ import annotations

import ast
from pathlib import Path

CALLS = frozenset(
    [
        "disk_usage",
        "exists",
        "fsync",
        "flock",
        "glob",
        "hardlink_to",
        "is_dir",
        "is_file",
        "iterdir",
        "link",
        "listdir",
        "lstat",
        "mkdir",
        "open",
        "read_bytes",
        "read_text",
        "rename",
        "rglob",
        "rmdir",
        "rmtree",
        "samefile",
        "scandir",
        "stat",
        "symlink_to",
        "touch",
        "truncate",
        "unlink",
        "utime",
        "walk",
        "write_bytes",
        "write_text",
    ]
)


def file_calls(file: Path) -> set[str]:
    """Names of the calls, but for those of a store; `replace` with one argument is a path's, not a text's."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id == "open":
            found.add("open")
        elif isinstance(called, ast.Attribute) and not _is_store(called.value):
            moved = called.attr == "replace" and len(node.args) == 1 and not node.keywords
            found |= {called.attr} & CALLS | ({"replace"} if moved else set())
    return found


def _is_store(node: ast.expr) -> bool:
    """Whether what is called is a method of `store`, `layout.store`, `self._store`."""
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.strip("_") == "store"
