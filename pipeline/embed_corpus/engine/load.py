"""Load a transformers model for packed batches."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

from embed_corpus.engine.attention import register
from embed_corpus.errors import ModelError

if TYPE_CHECKING:
    from embed_corpus.engine.facts import ModelFacts

__all__ = ["DTYPES", "load_model", "position_offset"]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.bfloat16}
"""Precision → type of the weights as they are loaded."""


def load_model(facts: ModelFacts, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    """Load a model's weights, its attention set to ours, without a pooler or head.

    Raises:
        ModelError: weights missing or unreadable, or more than the device holds.
    """
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(facts.folder)
        kind = transformers.MODEL_MAPPING[type(config)]
        model, report = kind.from_pretrained(
            facts.folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            **_options(kind),
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"model {facts.folder} cannot be loaded: {reason}") from error
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise ModelError(f"model {facts.folder}: broken safetensors file: {error}") from error
        raise
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"model {facts.folder} lacks {len(missing)} weights, e.g. {missing[0]}: random ones would stand in."
        )
    try:
        module: torch.nn.Module = model.to(device).eval().requires_grad_(False)
    except torch.OutOfMemoryError as error:
        raise ModelError(f"{device} has too little memory for the model's weights in {dtype}: {error}") from error
    return module


def _options(kind: Any) -> dict[str, Any]:
    """Ask for our attention, where a model looks attention up by name, and for no pooler.

    A pooler's output on a packed batch would be that of the first text only.
    """
    options: dict[str, Any] = {"attn_implementation": register()} if kind._supports_attention_backend else {}  # noqa: SLF001
    if "add_pooling_layer" in inspect.signature(kind.__init__).parameters:
        options["add_pooling_layer"] = False
    return options


def position_offset(model: torch.nn.Module) -> int:
    """Return the first position of a text: RoBERTa's family counts from padding_idx + 1."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        padding = getattr(module, "padding_idx", None)
        if isinstance(table, torch.nn.Embedding) and isinstance(padding, int):
            return padding + 1
    return 0
