"""CONTRIBUTING.md names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import embed_corpus
from test_architecture import MAY_IMPORT

ROOT = Path(__file__).parents[1]
ROOMS = Path(embed_corpus.__file__).parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
QUOTED = set(re.findall(r"`([^`\n]+)`", TEXT))
PATHS = sorted(q for q in QUOTED if re.fullmatch(r"[\w./-]*(/|\.py|\.md)", q) and "NAME" not in q)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_exists(path: str) -> None:
    """What it calls a file or folder is one, in the repository or in the package."""
    assert (ROOT / path).exists() or (ROOMS / path).exists()


def test_every_room_has_its_line() -> None:
    """The map of rooms is that of the package, from top to bottom."""
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", TEXT, re.MULTILINE)
    assert rows == [room for room in MAY_IMPORT if room not in ("front", "__main__")]


def test_every_target_exists() -> None:
    """Each `make` target that it names is one."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {q.split()[1] for q in QUOTED if q.startswith("make ")} <= targets


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z][A-Z_]+|_[A-Z]+)`", TEXT))))
def test_every_table_exists(name: str) -> None:
    """Each table that it names stands in some module, or in the test of the architecture."""
    files = [*ROOMS.rglob("*.py"), ROOT / "tests" / "test_architecture.py"]
    assert any(re.search(rf"^{name}\b.*=", file.read_text(), re.MULTILINE) for file in files)
