"""StaticEmbedding modules: a table of one vector a token, read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import ModelError
from embed_corpus.model.folder import read_json

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Table", "is_model2vec", "read_table"]

_UNLIMITED = 1 << 20
"""Tokens of a text, where no file sets a limit: a mean has none of its own."""
_MODEL2VEC_LIMIT = 512
_NAMES = {"embedding.weight": {"embedding.weight"}, "embeddings": {"embeddings", "mapping", "weights"}}
"""The table's name as sentence-transformers and as model2vec writes it → the tensors that may lie beside it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A StaticEmbedding module: the vector of a text is the mean of its tokens' rows.

    Attributes:
        folder: holds its model.safetensors and tokenizer.json.
        n_tokens: tokens that it has a row for.
        dim: numbers of a row.
        unknown: the token that is left out of the mean, as model2vec does in folders of its own.
    """

    folder: Path
    n_tokens: int
    dim: int
    unknown: int | None = None


def is_model2vec(folder: Path) -> bool:
    """Tell whether a folder without modules.json is one of model2vec's."""
    return (folder / "config.json").exists() and read_json(folder, "config.json").get("model_type") == "model2vec"


def read_table(folder: Path, *, of_model2vec: bool) -> tuple[Table, int]:
    """Read how large a module's table is, and the tokens of a text at most.

    With `of_model2vec` there is no modules.json, and what counts is what model2vec does with the folder.

    Raises:
        ModelError: a file is missing, broken or holds something that is not supported.
    """
    from safetensors import SafetensorError, safe_open

    file = folder / "model.safetensors"
    if not file.exists():
        pickled = folder / "pytorch_model.bin"
        why = f": {pickled.name} is a pickle, which is never loaded" if pickled.exists() else ""
        raise ModelError(f"{folder} lacks {file.name}, the table of its StaticEmbedding module{why}.")
    try:
        with safe_open(file, "numpy") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118  # no dict
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}, a StaticEmbedding module's table, cannot be read: {error}") from error
    name = next((name for name in _NAMES if name in shapes), None)
    if name is None or not shapes.keys() <= _NAMES[name]:
        raise ModelError(
            f"{file} holds {', '.join(sorted(shapes)) or 'nothing'}; a StaticEmbedding module's table is "
            "embedding.weight, or embeddings with mapping and weights beside it."
        )
    n_rows, dim = shapes[name]
    n_tokens = shapes["mapping"][0] if "mapping" in shapes else n_rows
    if shapes.get("weights", (n_tokens,)) != (n_tokens,):
        raise ModelError(f"{file}: weights has {shapes['weights'][0]} numbers for {n_tokens} tokens.")
    spec = read_json(folder, "tokenizer.json")
    if (known := _known(spec)) > n_tokens:
        raise ModelError(f"{folder / 'tokenizer.json'} knows {known} tokens, but {file.name} has rows for {n_tokens}.")
    truncation = spec.get("truncation") or {}
    if truncation.get("direction") == "Left":
        raise ModelError(
            f"{folder / 'tokenizer.json'} cuts long texts at their beginning: not supported. Set it to Right."
        )
    limit = truncation.get("max_length") or _UNLIMITED
    unknown = None
    if of_model2vec:
        limit = read_json(folder, "config.json").get("max_length", _MODEL2VEC_LIMIT) or _UNLIMITED
        unknown = _unknown(spec)
    return Table(folder, n_tokens, dim, unknown), int(limit)


def _known(spec: dict[str, Any]) -> int:
    """Return how many ids a tokenizer can give: one more than its largest."""
    vocabulary = spec["model"]["vocab"]
    ids = vocabulary.values() if isinstance(vocabulary, dict) else (len(vocabulary) - 1,)
    return 1 + max([*ids, *(token["id"] for token in spec.get("added_tokens") or ())], default=-1)


def _unknown(spec: dict[str, Any]) -> int | None:
    """Return the id of a tokenizer's unknown token, as model2vec finds it."""
    model = spec["model"]
    if "unk_id" in model:
        return None if model["unk_id"] is None else int(model["unk_id"])
    found = (model.get("vocab") or {}).get(model.get("unk_token"))
    return None if found is None else int(found)
