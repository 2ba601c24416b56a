"""Tokens that only the files beside tokenizer.json name: whole in a text, as transformers has them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken

from embed_corpus.errors import ModelError
from embed_corpus.model.folder import read_json
from embed_corpus.model.settings import tokenizer_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tokenizers import Tokenizer

__all__ = ["add_tokens", "tokens_beside"]

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def add_tokens(tokenizer: Tokenizer, folder: Path) -> list[str]:
    """Add the tokens that files beside tokenizer.json name and it does not, in transformers' order.

    One that the vocabulary holds keeps its id, others get the ids behind the last.

    Returns:
        What they look like in a text.

    Raises:
        ModelError: a file is broken.
    """
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    new = [token for token in _declared(folder) if token["content"] not in known]
    tokenizer.add_tokens([AddedToken(**token) for token in new])
    return [token["content"] for token in new]


def tokens_beside(folder: Path) -> list[dict[str, Any]]:
    """Return the tokens that `add_tokens` would add, in order, each with its flags; for a hash.

    Raises:
        ModelError: a file is broken.
    """
    declared = _declared(folder)
    if not declared or not (folder / "tokenizer.json").exists():
        return []
    known = {token.get("content") for token in read_json(folder, "tokenizer.json").get("added_tokens") or []}
    return [token for token in declared if token["content"] not in known]


def _declared(folder: Path) -> list[dict[str, Any]]:
    """List every token that the files beside tokenizer.json name, once each."""
    try:
        return list({token["content"]: token for token in reversed(list(_all_declared(folder)))}.values())[::-1]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{folder}: tokenizer_config.json, special_tokens_map.json or added_tokens.json names a token in an odd "
            f"way ({type(error).__name__}: {error}). Save the tokenizer anew with transformers' save_pretrained."
        ) from error


def _all_declared(folder: Path) -> Iterator[dict[str, Any]]:
    config = tokenizer_settings(folder)
    if "extra_special_tokens" not in config or not config["extra_special_tokens"]:
        config = config | {"extra_special_tokens": config.pop("additional_special_tokens", None)}
    by_id = {int(number): _token(token) for number, token in (config.get("added_tokens_decoder") or {}).items()}
    if "added_tokens_decoder" not in config:  # then, and only then, transformers reads the older files
        config |= read_json(folder, "special_tokens_map.json", default={})
        named = {_content(token) for token in _special(config)}
        for content, number in read_json(folder, "added_tokens.json", default={}).items():
            by_id[int(number)] = _flags(content, special=content in named, normalized=content not in named)
    yield from (by_id[number] for number in sorted(by_id))
    yield from (_token(token) | {"special": True} for token in _special(config))


def _special(config: dict[str, Any]) -> Iterator[Any]:
    """Yield the special tokens that a configuration names, as they stand there."""
    named = [*_NAMED, *(key for key in config if key.endswith("_token") and key not in _NAMED)]
    yield from (config[key] for key in named if isinstance(config.get(key), str | dict))
    for key in ("extra_special_tokens", "additional_special_tokens"):
        extra: Iterable[Any] = config.get(key) or []
        yield from extra.values() if isinstance(extra, dict) else extra


def _content(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)


def _token(token: Any) -> dict[str, Any]:
    if not isinstance(token, dict):
        if not isinstance(token, str):
            raise TypeError(f"a token is {json.dumps(token)}")
        return _flags(token, special=True, normalized=False)
    return _flags(_content(token), **{name: bool(token[name]) for name in _FLAGS if name in token})


def _flags(content: str, **flags: bool) -> dict[str, Any]:
    special = flags.get("special", False)
    defaults = dict.fromkeys(_FLAGS, False) | {"normalized": not special}
    return {"content": content} | defaults | flags
