"""Records that are kept as JSON: dataclasses whose fields are the keys, written in the fields' order.

A field that has a default is written only where it differs from it. So a field that is added with the default that
means "as before" leaves the files and hashes of older versions as they are. Keys of other versions are kept in the
field `others`.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["as_json", "differences", "digest", "from_json"]

Record = TypeVar("Record")


def as_json(record: Any) -> dict[str, Any]:
    """Return a record's JSON object; records and tuples in it are objects and lists there."""
    found = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name != "others" and (field.default is MISSING or value != field.default):
            found[field.name] = _plain(value)
    return found | getattr(record, "others", {})


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return as_json(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def from_json(kind: type[Record], content: Mapping[str, Any], **read: Any) -> Record:
    """Return a record of what was read; `read` are those of its values that are more than plain JSON.

    Raises:
        KeyError: a field without a default is missing. TypeError, ValueError: the content is no JSON object.
    """
    content, known = dict(content), {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name, field in known.items():
        if name not in content and field.default is MISSING and field.default_factory is MISSING:
            raise KeyError(name)
    values = {name: value for name, value in content.items() if name in known and name != "others"} | read
    if "others" in known:
        values["others"] = {name: value for name, value in content.items() if name not in values}
    return kind(**values)


def digest(content: Mapping[str, Any]) -> str:
    """Hash a JSON object to 32 hex digits, whatever the order of its keys."""
    return blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield one line for each key that differs, as `name: theirs there, ours now`."""
    for name in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(name), theirs.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from differences(a, b, f"{prefix}{name}.")
        elif a != b:
            yield f"{prefix}{name}: {json.dumps(b)} there, {json.dumps(a)} now"
