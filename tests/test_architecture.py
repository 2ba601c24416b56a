"""Rules that hold for the whole package."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import embed_corpus
from kit.file_calls import file_calls
from kit.imports import Import, imports, module_name, room

ROOT = Path(embed_corpus.__file__).parent
MAY_IMPORT = {
    "cli": "verbs execution job model report errors",
    "verbs": "job index sink source chunk engine model vectors store feed report data errors",
    "execution": "job index sink source chunk engine vectors store feed report data errors",
    "job": "index sink source chunk engine model vectors store data errors",
    "index": "sink vectors store report data errors",
    "sink": "vectors store data errors",
    "source": "unpacked store data firstbytes errors",
    "chunk": "model store data errors",
    "engine": "model vectors store feed data errors",
    "model": "store firstbytes errors",
    "vectors": "errors",
    "unpacked": "store",
    "store": "errors",
    "feed": "data",
    "report": "data",
    "data": "",
    "firstbytes": "",
    "errors": "",
    "front": "verbs execution job report errors",  # for types: it imports what it names when that is asked for
    "__main__": "cli",
}
"""The rooms, from top to bottom, and which others each may import, for types too; all may take the version."""
STAGES = ("source", "chunk", "feed", "engine", "sink")
STAGES_MEET = {("engine", "embed_corpus.feed.packing")}
"""Where a stage imports another all the same: what lies there are the types that both exchange."""
HEAVY = {"torch", "transformers", "faiss", "sentence_transformers"}
"""Libraries that take seconds to import. Only `engine` may do so when it is itself imported."""
LARGEST_ROOM = 0.15
"""Share of the package's lines."""
LONG = {
    "engine/kernels/attention.py": {"flash_attention", "_attend"},  # a kernel is one piece
    "execution/pipeline.py": {"embed_blocks"},
    "job/prepare.py": {"prepare"},
}
"""Functions of 51 to 60 lines: to be split when next touched, and to be deleted here then."""
NOT_OUT: dict[str, set[str]] = {
    "cli/__init__.py": {"open"},  # /dev/null, where a standard stream is closed
    "cli/_job_file.py": {"read_text"},  # the job file
    "cli/search.py": {"open", "write_text"},  # --output
    "execution/claims.py": {"exists", "read_text", "write_bytes"},  # /proc; a claim before it is put
    "index/files.py": {"open"},  # /dev/null, for what FAISS prints
    "index/judgements.py": {"read_text"},  # --qrels
    "index/lists.py": {"open"},  # lists of an index before it is put
    "job/devices.py": {"read_text"},  # the version of a library, cores of a GPU
    "job/fingerprint.py": {"exists", "glob", "open", "read_text", "stat"},  # the model, and the cache of its hashes
    "job/prepare.py": {"is_dir"},  # the model
    "job/speeds.py": {"read_text", "stat"},  # the cache, the model
    "sink/parts.py": {"open"},  # a part before it is put
    "sink/rejects.py": {"read_bytes"},  # a record before it is put
}
"""Calls of the file system in rooms that know OUT, and what they are for: other files, or files that are still made."""
MODULES = ["embed_corpus", *sorted(m.name for m in pkgutil.walk_packages([str(ROOT)], "embed_corpus."))]
FILES = sorted(ROOT.rglob("*.py"))
IMPORTS = imports(ROOT)
OURS = {module_name(file, ROOT) for file in FILES}


def between_rooms() -> list[Import]:
    """Imports of one room by another, but for the version's."""
    found = [i for i in IMPORTS if i.module in OURS and i.module != "embed_corpus"]
    return [i for i in found if room(i.by) != room(i.module)]


def test_every_room_has_its_row() -> None:
    """The table of rooms is complete, and names no room that is gone."""
    assert {room(name) for name in OURS} == set(MAY_IMPORT)


def test_rooms_import_what_the_table_allows() -> None:
    """A room imports another only if the table says so."""
    assert [i for i in between_rooms() if room(i.module) not in MAY_IMPORT[room(i.by)].split()] == []


def test_the_table_points_down() -> None:
    """A room may import only rooms that stand below it."""
    order = list(MAY_IMPORT)
    rooms = {name: row.split() for name, row in MAY_IMPORT.items() if name not in ("front", "__main__")}
    assert [(a, b) for a, row in rooms.items() for b in row if order.index(b) <= order.index(a)] == []


def test_stages_meet_only_through_data_types() -> None:
    """No stage knows another: what they exchange are types of data/, or of a module that is listed."""
    known = {(room(i.by), i.module) for i in between_rooms() if room(i.by) in STAGES and room(i.module) in STAGES}
    assert known == STAGES_MEET


def test_only_the_store_touches_the_files_of_out() -> None:
    """Rooms that know OUT call the file system for other files alone: what is in OUT is asked of its store."""
    rooms = ("cli", "verbs", "execution", "job", "index", "sink", "report")
    files = [file for name in rooms for file in sorted((ROOT / name).rglob("*.py"))]
    assert {str(file.relative_to(ROOT)): calls for file in files if (calls := file_calls(file))} == NOT_OUT


def test_no_import_circles() -> None:
    """No module imports, when it is imported or called, one that imports it: graphlib names the circle if one does."""
    graph: dict[str, set[str]] = {name: set() for name in OURS}
    for i in IMPORTS:
        if i.when != "types" and i.module in OURS:
            graph[i.by].add(i.module)
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", sorted(name for name in OURS if room(name) != "engine"))
def test_importing_is_light(name: str) -> None:
    """Outside engine/ nothing heavy is imported before it is needed, directly or by what is imported."""
    reached, new = set[str](), {name}
    while new:
        reached |= new
        packages = {module.rpartition(".")[0] for module in new if module in OURS} - {""}
        new = (packages | {i.module for i in IMPORTS if i.by in new and i.when == "import"}) - reached
    assert {module.partition(".")[0] for module in reached} & HEAVY == set()


def test_no_room_is_too_large() -> None:
    """No room holds more than 15 % of the package's lines."""
    lines = Counter[str]()
    for file in FILES:
        lines[room(module_name(file, ROOT))] += len(file.read_text().splitlines())
    shares = {name: round(n / lines.total(), 3) for name, n in lines.items()}
    assert {name: share for name, share in shares.items() if share > LARGEST_ROOM} == {}


def test_only_the_engine_knows_torch() -> None:
    """Model files, pipeline, workers and all others do without torch; `bench`, which measures, may ask it."""
    known = {i.by for i in IMPORTS if i.module.partition(".")[0] in ("torch", "triton") and room(i.by) != "engine"}
    assert known == {"embed_corpus.verbs.measure"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_files_and_functions_stay_short(file: Path) -> None:
    """No file over 300 lines, no function over 50 but exactly those listed, which have 60 at most."""
    source = file.read_text()
    assert len(source.splitlines()) <= 300
    found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = {n.name: (n.end_lineno or 0) - n.lineno + 1 for n in found}
    assert {name for name, n in lines.items() if n > 50} == LONG.get(str(file.relative_to(ROOT)), set())
    assert max(lines.values(), default=0) <= 60


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
