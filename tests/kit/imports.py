"""What each module of the package imports, read from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Import", "imports", "module_name", "room"]


@dataclass(frozen=True)
class Import:
    """One module that another imports: when it is itself imported, later in a function, or for types alone."""

    by: str
    module: str
    when: str


def module_name(file: Path, root: Path) -> str:
    """The dotted name of a file below the package's folder."""
    parts = [root.name, *file.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The room that a module of the package lies in; `front` is the package itself."""
    return [*module.split("."), "front"][1]


def imports(root: Path) -> list[Import]:
    """Every import of the package below `root`, its own modules by their full names."""
    files = {module_name(file, root): file for file in sorted(root.rglob("*.py"))}
    return [
        Import(name, target, when)
        for name, file in files.items()
        for node, when in _statements(ast.parse(file.read_text(encoding="utf8")), "import")
        for target in _targets(node, set(files))
    ]


def _statements(node: ast.AST, when: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, when
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from _statements(child, "types")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and when == "import":
            yield from _statements(child, "call")
        else:
            yield from _statements(child, when)


def _targets(node: ast.Import | ast.ImportFrom, ours: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.module, "imports are absolute"
    for alias in node.names:
        full = f"{node.module}.{alias.name}"
        yield full if full in ours else node.module
