"""Rules that hold for the whole package."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import embed_corpus

ROOT = Path(embed_corpus.__file__).parent
# From top to bottom: a package imports only what stands below it.
LAYERS = [
    "cli",
    "verbs",
    "execution",
    "job",
    "index",
    "sink",
    "source",
    "chunk",
    "engine",
    "model",
    "vectors",
    "store",
    "feed",
    "report",
    "data",
    "firstbytes",
    "errors",
]
MODULES = ["embed_corpus", *sorted(m.name for m in pkgutil.walk_packages([str(ROOT)], "embed_corpus."))]
FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_point_down(file: Path) -> None:
    """A module imports only modules of its own layer or of one below."""
    layer = file.relative_to(ROOT).parts[0].removesuffix(".py")
    if layer not in LAYERS:
        pytest.skip("the package's own front")
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("embed_corpus."):
            assert LAYERS.index(node.module.split(".")[1]) >= LAYERS.index(layer), node.module


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_files_and_functions_stay_short(file: Path) -> None:
    """No file over 300 lines, no function over 60."""
    source = file.read_text()
    assert len(source.splitlines()) <= 300
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= 60, node.name


@pytest.mark.parametrize("name", [m for m in MODULES if not m.endswith("__main__")])
def test_public_names_are_documented(name: str) -> None:
    """Every name in `__all__` exists, and every class and function among them has a docstring."""
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", []):
        thing = getattr(module, public)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), public


def test_version_is_in_the_changelog() -> None:
    """The package's version is the changelog's newest."""
    changelog = Path(__file__).parents[1] / "CHANGELOG.md"
    newest = next(line for line in changelog.read_text().splitlines() if line.startswith("## "))
    assert newest.split()[1] == embed_corpus.__version__


def test_no_pickle_is_loaded() -> None:
    """No module reads pickles, torch.load files or arrays with objects in them."""
    for file in FILES:
        nodes = list(ast.walk(ast.parse(file.read_text())))
        names = {getattr(node, field, "") for node in nodes for field in ("attr", "id", "arg")}
        assert not names & {"pickle", "joblib", "dill", "marshal", "allow_pickle"}, file
        assert "torch.load(" not in file.read_text(), file
