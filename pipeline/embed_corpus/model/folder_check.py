"""Refuse what a model folder says and is not obeyed here, by `folder_rules`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import ModelError
from embed_corpus.firstbytes import other_kind_of
from embed_corpus.model.folder import read_json
from embed_corpus.model.folder_rules import FILES, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from embed_corpus.model.folder_rules import FileRule, Key
    from embed_corpus.model.modules import Module

__all__ = ["check_file_kinds", "check_folder", "check_keys"]

_FIRST = ("Transformer", "Pooling", "StaticEmbedding", "model2vec")
"""Kinds whose files may lie in the model's own folder."""
_KINDS = {".json": "json", ".safetensors": "safetensors"}


def check_folder(folder: Path, modules: Sequence[Module]) -> None:
    """Refuse files and keys of a model folder that change vectors and are not obeyed.

    Raises:
        ModelError: there is such a file or key, or a file is not what its name says: it is told, with what to do.
    """
    places = [("model", folder), *((m.kind, m.folder) for m in modules if m.kind in _FIRST or m.folder != folder)]
    for of, place in dict.fromkeys(places):
        for file in sorted(place.glob("*")):
            rule = next((rule for rule in FILES if rule.of == of and fnmatchcase(file.name, rule.pattern)), None)
            if rule is None:
                continue
            if rule.verdict is Verdict.REFUSED:
                raise ModelError(f"{file} is not supported: {rule.why}.")
            if rule.verdict is Verdict.OBEYED and file.is_file():
                check_file_kinds([file])
            if rule.keys:
                _check_file(folder, file.relative_to(folder).as_posix(), rule)


def check_file_kinds(files: Sequence[Path]) -> None:
    """Refuse files whose first bytes are those of something else: a Git LFS pointer, an error page, another format.

    Raises:
        ModelError: one is, or cannot be read.
    """
    for file in files:
        expected = _KINDS.get(file.suffix)
        try:
            other = other_kind_of(file, expected) if expected else None
        except OSError as error:
            raise ModelError(f"{file} cannot be read: {error}") from error
        if other:
            raise ModelError(f"{file} is {other}.")


def _check_file(folder: Path, name: str, rule: FileRule) -> None:
    content = read_json(folder, name, kind=list if name == "modules.json" else dict)
    for entry in content if isinstance(content, list) else [content]:
        if not isinstance(entry, dict):
            raise ModelError(f"{folder / name} holds {entry!r} where an object belongs.")
        for key, why in check_keys(entry, rule.keys):
            raise ModelError(f"{folder / name}: {key} is not supported: {why}.")


def check_keys(content: dict[str, Any], keys: Sequence[Key], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key (and value) of a JSON object that is refused, and why."""
    by_name = {key.name: key for key in keys}
    for name, value in content.items():
        path = f"{prefix}{name}"
        if any(known.startswith(f"{path}.") for known in by_name):
            if isinstance(value, dict):
                yield from check_keys(value, keys, f"{path}.")
            elif value is not None:
                yield f"{path} = {_shown(value)}", "an object belongs here"
            continue
        key = by_name.get(path) or by_name.get(f"{prefix}*")
        if key is None:
            yield path, "nothing is known of this key, and what is not known may change vectors: take it out"
        elif key.verdict is Verdict.REFUSED and not _passes(key, value):
            yield f"{path} = {_shown(value)}", key.why


def _passes(key: Key, value: Any) -> bool:
    if value is None and not key.always:
        return True
    return any(type(value) is type(known) and value == known for known in key.passes)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
