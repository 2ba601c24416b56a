"""JSON files of OUT: what was noted beside the parts."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embed_corpus.store.base import Key
    from embed_corpus.store.layout import Layout

__all__ = ["publish_json", "read_json", "replace_json"]


def read_json(layout: Layout, key: Key) -> Any:
    """Read a JSON file.

    Raises:
        OSError, ValueError: it cannot be read, or is damaged.
    """
    with layout.store.open(key) as file:
        return json.loads(file.read().decode("utf8"))


def publish_json(layout: Layout, key: Key, content: dict[str, Any]) -> Literal["won", "lost"]:
    """Publish a JSON file under a name that is taken once and never changed."""
    if layout.store.stat(key):  # a plan of 100,000 shards takes a second to write
        return "lost"
    with _written(layout, key, content) as made:
        return layout.store.put_if_absent(made, key)


def replace_json(layout: Layout, key: Key, content: dict[str, Any], *, durable: bool = False) -> None:
    """Write a JSON file that may change; unless `durable`, one that a power cut may take: a cache, a report."""
    with _written(layout, key, content) as made:
        layout.store.put(made, key, durable=durable)


@contextmanager
def _written(layout: Layout, key: Key, content: dict[str, Any]) -> Iterator[Path]:
    with layout.attempt(key.name) as made:
        made.write_text(json.dumps(content, indent=1) + "\n", encoding="utf8")
        yield made
