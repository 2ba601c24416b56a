"""What is said beside tokenizer.json about how a model's texts are tokenised."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, normalizers

from embed_corpus.chunk.added import add_tokens, tokens_beside
from embed_corpus.model.settings import settings_of, tokenizer_settings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["apply_rules", "file_rules", "inner_tokenizer", "spec_of"]

_BERTS = ("Bert", "DistilBert", "Electra", "MPNet", "Funnel", "MobileBert", "RetriBert", "ConvBert", "LayoutLM")
"""Families whose tokenizer class takes its normaliser from tokenizer_config.json, not from tokenizer.json."""


def apply_rules(tokenizer: Tokenizer, folder: Path) -> bool:
    """Give a tokenizer the normaliser and the tokens that transformers and sentence-transformers give it.

    Returns:
        Whether its normaliser is another one than tokenizer.json's.

    Raises:
        ModelError: a configuration file is broken.
    """
    before = spec_of(tokenizer.normalizer)
    config = tokenizer_settings(folder)
    if _class_of(config) in _BERTS and (before or {}).get("type") == "BertNormalizer":
        tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=config.get("tokenize_chinese_chars", True),
            strip_accents=config.get("strip_accents"),
            lowercase=config.get("do_lower_case", True),
        )
    if settings_of(folder).get("do_lower_case"):
        _lower_case(tokenizer)
    add_tokens(tokenizer, folder)
    tokenizer.encode_special_tokens = bool(config.get("split_special_tokens"))
    return bool(spec_of(tokenizer.normalizer) != before)


def _class_of(config: dict[str, Any]) -> str:
    return str(config.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")


def file_rules(folder: Path) -> dict[str, Any]:
    """Return what decides about tokens beside tokenizer.json, as the files say it.

    Raises:
        ModelError: a configuration file is broken.
    """
    config = tokenizer_settings(folder)
    names = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
    rules = {name: config[name] for name in names if name in config}
    if _class_of(config) in _BERTS:
        rules["tokenizer_class"] = _class_of(config)
    if settings_of(folder).get("do_lower_case"):
        rules["lower_case_first"] = True
    if tokens := tokens_beside(folder):
        rules["added_tokens"] = tokens
    if config.get("split_special_tokens"):
        rules["split_special_tokens"] = True
    return rules


def _lower_case(tokenizer: Tokenizer) -> None:
    now = spec_of(tokenizer.normalizer)
    steps = (now or {}).get("normalizers", [now] if now else [])
    if any(step["type"] == "Lowercase" or step.get("lowercase") for step in steps):
        return
    rest = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])


def inner_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer for a piece of a text that is not its beginning.

    It is another one where the normaliser puts a space before every text, also one that begins with a space.
    """
    steps = (spec_of(tokenizer.normalizer) or {}).get("normalizers", [])
    if not any(step["type"] == "Prepend" for step in steps):
        return tokenizer
    inner = Tokenizer.from_str(tokenizer.to_str())
    inner.encode_special_tokens = tokenizer.encode_special_tokens
    kept = zip(tokenizer.normalizer, steps, strict=True)
    inner.normalizer = normalizers.Sequence([part for part, step in kept if step["type"] != "Prepend"])
    return inner


def spec_of(part: Any) -> dict[str, Any] | None:
    """Return what tokenizer.json says of one of a tokenizer's parts, without writing its vocabulary out."""
    spec: dict[str, Any] | None = None if part is None else json.loads(part.__getstate__())
    return spec
