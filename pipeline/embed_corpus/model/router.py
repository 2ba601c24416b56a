"""Router modules: which modules the documents of an asymmetric model go through, and which its queries."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import ModelError
from embed_corpus.model.folder import read_json
from embed_corpus.model.folder_check import check_keys
from embed_corpus.model.folder_rules import ROUTER_KEYS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_router", "route_of"]


def read_router(folder: Path) -> tuple[dict[str, Any], Path]:
    """Read a Router's own file, and return it with its place: older versions named it config.json.

    Raises:
        ModelError: it is missing or broken, or says something that is not supported.
    """
    newer = folder / "router_config.json"
    file = newer if newer.exists() else folder / "config.json"
    if not file.exists():
        raise ModelError(f"{folder} lacks {newer.name}, the routes of its Router module.")
    config: dict[str, Any] = read_json(folder, file.name)
    types, routes, told = (config.get(name) for name in ("types", "structure", "parameters"))
    if not isinstance(types, dict) or not isinstance(routes, dict) or not routes:
        raise ModelError(f"{file}: this Router has no routes (types, structure).")
    for key, why in check_keys(config, ROUTER_KEYS):
        raise ModelError(f"{file}: a Router's {key} is not supported: {why}.")
    for route, modules in routes.items():
        if gone := [name for name in modules if name not in types]:
            raise ModelError(f"{file}: the Router's route {route!r} names {gone[0]!r}, which types does not.")
    default = (told or {}).get("default_route")
    if default is not None and default not in routes:
        raise ModelError(f"{file}: the Router's default_route {default!r} is no route of it.")
    return config, file


def route_of(config: dict[str, Any], file: Path, task: str) -> list[str]:
    """Return the names of the modules that a task's texts ("document" or "query") go through.

    Raises:
        ModelError: there is no route for them.
    """
    routes: dict[str, list[str]] = config["structure"]
    mapped = {}
    for key, route in ((config.get("parameters") or {}).get("route_mappings") or {}).items():
        try:
            asked, kind = ast.literal_eval(key)
        except (ValueError, SyntaxError, TypeError) as error:
            raise ModelError(
                f"{file}: {key!r} in the Router's route_mappings is no pair of task and modality."
            ) from error
        if route not in routes:
            raise ModelError(f"{file}: the Router's route_mappings name {route!r}, which is no route of it.")
        mapped[asked, tuple(sorted(kind)) if isinstance(kind, tuple) else kind] = route
    # In sentence-transformers' order.
    for pair in ((task, "text"), (task, None), (None, "text"), (None, None)):
        if pair in mapped:
            return routes[mapped[pair]]
    for name in (task, "text"):
        if name in routes:
            return routes[name]
    raise ModelError(f"{file}: this Router has no route for {task} texts, only {', '.join(routes)}.")
