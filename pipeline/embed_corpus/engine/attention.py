"""Attention over a packed batch: each chunk attends to itself alone."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ATTENTION", "packed_attention", "register"]

ATTENTION = "ec_packed"
"""Name under which the function is registered. No mask function is registered under it, on
purpose: for an unknown name transformers builds no mask at all and hands over None."""


def register() -> str:
    """Register `packed_attention` with transformers and return its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    return ATTENTION


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within each chunk: one `scaled_dot_product_attention` call per chunk.

    Args:
        module: the attention layer; its `is_causal` tells decoders from encoders.
        query: [1, heads, T, head size]; `key` and `value` may have fewer heads (GQA).
        key: see query.
        value: see query.
        attention_mask: must be None: a packed batch has no mask.
        cu_seq_lens_q: int32[N + 1], where each chunk starts, then T.
        scaling: of the scores; None is 1 / sqrt(head size).
        sliding_window: tokens seen at most, the own one included; causal: looking back
            only, else to both sides (transformers passes window + 1 for ModernBERT).
        is_causal: overrides the module's.
        kwargs: what transformers passes to every attention function.

    Returns:
        [1, T, heads, head size], and None for the weights.

    Raises:
        NotImplementedError: the model wants a mask, a bias, sinks or a soft cap.
    """
    odd = [name for name in ("position_bias", "softcap", "s_aux") if kwargs.get(name) is not None]
    if attention_mask is not None or odd:
        raise NotImplementedError(f"packed attention takes no {', '.join(odd) or 'mask'}")
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
    for a, b in pairwise(cu_seq_lens_q.tolist()):
        mask = _window_mask(b - a, sliding_window, causal=causal, device=query.device)
        attended = scaled_dot_product_attention(
            query[:, :, a:b],
            key[:, :, a:b],
            value[:, :, a:b],
            attn_mask=mask,
            is_causal=causal and mask is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        out[:, a:b] = attended.transpose(1, 2)
    return out, None


def _window_mask(n: int, window: int | None, *, causal: bool, device: torch.device) -> Tensor | None:
    """Return bool[n, n], True where a token is seen; None where the window covers everything."""
    if window is None or n <= window:
        return None
    position = torch.arange(n, device=device)
    back = position[:, None] - position
    return (back >= 0) & (back < window) if causal else back.abs() < window
