"""What sentence_bert_config.json, or the file of an older name, says of a Transformer module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embed_corpus.model.folder import read_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SETTINGS_FILES", "settings_of", "tokenizer_settings"]

_KINDS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
SETTINGS_FILES = tuple(f"sentence_{kind}_config.json" for kind in _KINDS)
"""In the order in which sentence-transformers looks; older versions named the file after the family."""

_RENAMED = {"model_args": "model_kwargs", "tokenizer_args": "processor_kwargs", "config_args": "config_kwargs"}
"""Keys of older files: where both stand, the older one counts."""


def settings_of(folder: Path) -> dict[str, Any]:
    """Read the first of the files that is there and not empty, its keys by their newer names.

    Raises:
        ModelError: it cannot be read.
    """
    for name in SETTINGS_FILES:
        if found := read_json(folder, name, default={}):
            newer = {key: value for key, value in found.items() if key not in _RENAMED}
            return newer | {_RENAMED[key]: value for key, value in found.items() if key in _RENAMED}
    return {}


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """Return what tokenizer_config.json says, and above it what the Transformer's settings say of the tokenizer.

    Raises:
        ModelError: a file cannot be read.
    """
    config: dict[str, Any] = read_json(folder, "tokenizer_config.json", default={})
    return config | (settings_of(folder).get("processor_kwargs") or {})
