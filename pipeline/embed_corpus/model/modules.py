"""The modules that a model's folder lists: which kind each is, told by exact names, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import ModelError
from embed_corpus.model.folder import read_json
from embed_corpus.model.router import read_router, route_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KINDS", "TYPES", "Module", "check_types", "kinds_of", "read_modules"]

_OURS, _BASE, _DENSE = "sentence_transformers", "base.modules", "sentence_transformer.modules"
_PLACES = {
    "Transformer": (_BASE, "transformer"),
    "Pooling": (_DENSE, "pooling"),
    "Dense": (_BASE, "dense"),
    "Normalize": (_BASE, "normalize"),
    "Dropout": (_DENSE, "dropout"),
    "StaticEmbedding": (_DENSE, "static_embedding"),
    "Router": (_BASE, "router"),
}
"""Each kind's package and file in sentence-transformers since 5.4; before, all of them lay in `models`."""
KINDS = tuple(_PLACES)

TYPES = {
    name: kind
    for kind, (package, file) in _PLACES.items()
    for name in (
        f"{_OURS}.models.{kind}",
        f"{_OURS}.models.{kind}.{kind}",
        f"{_OURS}.{_DENSE}.{kind}",
        f"{_OURS}.{package}.{kind}",
        f"{_OURS}.{package}.{file}.{kind}",
    )
} | {
    f"{_OURS}.{_DENSE}.normalize.Normalize": "Normalize",
    f"{_OURS}.models.Asym": "Router",
    f"{_OURS}.models.Asym.Asym": "Router",
    f"{_OURS}.{_DENSE}.Asym": "Router",
    f"{_OURS}.{_BASE}.router.Asym": "Router",
}
"""Every name of a class that modules.json may give → its kind. Someone's own class named Transformer is none."""


@dataclass(frozen=True, slots=True)
class Module:
    """One of a model's modules.

    Attributes:
        kind: one of `KINDS`.
        folder: where its files lie.
    """

    kind: str
    folder: Path


def read_modules(folder: Path, task: str = "document") -> list[Module]:
    """Read `modules.json`: the modules in the order in which a text goes through them.

    In the place of a Router stand the modules of the route that the texts of the task take, "document" or "query".

    Raises:
        ModelError: it is missing or broken, or names a module that is not supported.
    """
    file = folder / "modules.json"
    listed: list[Any] = read_json(folder, "modules.json", kind=list)
    types = [str(module["type"]) for module in listed]
    check_types(types, file)
    names = [str(module.get("name", i)) for i, module in enumerate(listed)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ModelError(f"{file} names two modules {twice[0]!r}: sentence-transformers would drop one of them.")
    modules = [
        Module(TYPES[kind], folder / _inside(str(module["path"]), file))
        for kind, module in zip(types, listed, strict=True)
    ]
    if modules and modules[0].kind == "Router":
        modules[:1] = _route(modules[0].folder, task)
    if any(module.kind == "Router" for module in modules):
        raise ModelError(f"{file} lists {kinds_of(modules)}: a Router is supported as the first module only.")
    return modules


def _route(folder: Path, task: str) -> list[Module]:
    config, file = read_router(folder)
    check_types([str(kind) for kind in config["types"].values()], file)
    names = route_of(config, file, task)
    return [Module(TYPES[str(config["types"][name])], folder / _inside(name, file)) for name in names]


def check_types(types: list[str], file: Path) -> None:
    """Refuse modules of kinds that are not supported.

    Raises:
        ModelError: it names them, and what is Python code of the model's own.
    """
    odd = [name for name in dict.fromkeys(types) if name not in TYPES]
    if own := [name for name in odd if not name.startswith(f"{_OURS}.")]:
        raise ModelError(
            f"{file} names {', '.join(own)}, Python code that is not sentence-transformers' own: such modules are not "
            f"supported. Supported, of sentence-transformers: {', '.join(KINDS)}."
        )
    if odd:
        short = sorted({name.rsplit(".", 1)[-1] for name in odd})
        raise ModelError(
            f"{file} has modules that are not supported: {', '.join(short)}. Supported: {', '.join(KINDS)}."
        )


def kinds_of(modules: list[Module]) -> str:
    """Name the modules' kinds, for people."""
    return ", ".join(module.kind for module in modules)


def _inside(path: str, file: Path) -> str:
    """Return a module's path, which has to lie in the model's folder."""
    if PureWindowsPath(path).anchor or ".." in PureWindowsPath(path).parts or "\0" in path:
        raise ModelError(f"{file}: a module's path is {path!r}, outside the model's folder.")
    return path
