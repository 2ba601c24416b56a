"""The longest text that a model's files allow, in tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embed_corpus.errors import ModelError
from embed_corpus.model.settings import settings_of, tokenizer_settings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["longest_text"]

_POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet", "roberta-prelayernorm"}
"""Families whose position table begins behind the padding index: two rows are not for texts."""
_UNLIMITED = 1 << 24
"""What transformers writes for "no limit" is far above."""


def longest_text(folder: Path, config: dict[str, Any]) -> int:
    """Return the tokens that sentence-transformers lets a text have, special ones included; no more than positions.

    Args:
        folder: the Transformer module's.
        config: its config.json.

    Raises:
        ModelError: no file tells, or a file says something that is no number of tokens.
    """
    positions = config.get("max_position_embeddings") or config.get("n_positions")
    if positions is not None and config.get("model_type") in _POSITIONS_AFTER_PADDING:
        positions -= int(config.get("pad_token_id", 1)) + 1
    settings, of_tokenizer = settings_of(folder), tokenizer_settings(folder)
    own = {
        "processor_kwargs.model_max_length": (settings.get("processor_kwargs") or {}).get("model_max_length"),
        "max_seq_length": settings.get("max_seq_length"),
        "model_max_length": of_tokenizer.get("model_max_length", of_tokenizer.get("max_len")),
    }
    told = next(((name, value) for name, value in own.items() if value is not None), None)
    if told and not _is_limit(told[1]):
        raise ModelError(f"{folder}: {told[0]} = {told[1]!r} in its files is no number of tokens: set it to one.")
    known = [limit for limit in (told and told[1], positions) if limit is not None and limit < _UNLIMITED]
    if not known:
        raise ModelError(
            f"{folder}: no file says how long a text may be (max_position_embeddings, max_seq_length, "
            "model_max_length). Set max_seq_length in sentence_bert_config.json."
        )
    if min(known) < 1:
        raise ModelError(f"{folder}: its files leave a text {min(known)} tokens: one of them is another model's.")
    return int(min(known))


def _is_limit(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 and value == int(value)
