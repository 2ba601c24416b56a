"""Attention over a packed batch: each text attends to itself alone."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import scaled_dot_product_attention

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

__all__ = ["ATTENTION", "attend", "counted_calls", "packed_attention", "register"]

ATTENTION = "ec_packed"
"""Name under which the function is registered. No mask function is registered under it, on
purpose: for an unknown name transformers builds no mask at all and hands over None."""


def register() -> str:
    """Register `packed_attention` with transformers and return its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    return ATTENTION


@contextmanager
def counted_calls(model: Any) -> Iterator[list[None]]:
    """Let a model use our attention and collect one entry for each call of it."""
    from transformers import AttentionInterface

    calls: list[None] = []

    def counted(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        calls.append(None)
        return packed_attention(*args, **kwargs)

    AttentionInterface.register("ec_counted", counted)
    before = model.config._attn_implementation  # noqa: SLF001  # what transformers' layers read at each call
    model.config._attn_implementation = "ec_counted"  # noqa: SLF001
    try:
        yield calls
    finally:
        model.config._attn_implementation = before  # noqa: SLF001


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    tiles: Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Do `attend` under the conventions of transformers' attention functions.

    Args:
        module: the attention layer; its `is_causal` tells decoders from encoders.
        query: [1, heads, T, head size]; `key` and `value` may have fewer heads (GQA).
        key: see query.
        value: see query.
        attention_mask: must be None: a packed batch has no mask.
        cu_seq_lens_q: `edges` of `Packed`.
        max_length_q: `max_length` of `Packed`.
        tiles: `tiles` of `Packed`.
        scaling: of the scores; None is 1 / sqrt(head size).
        sliding_window: see `attend` (transformers passes window + 1 for ModernBERT).
        is_causal: overrides the module's.
        kwargs: what else transformers passes to every attention function.

    Returns:
        [1, T, heads, head size], and None for the weights.

    Raises:
        NotImplementedError: the model wants a mask, a bias, sinks or a soft cap.
    """
    odd = [name for name in ("position_bias", "softcap", "s_aux") if kwargs.get(name) is not None]
    if attention_mask is not None or odd:
        raise NotImplementedError(f"packed attention takes no {', '.join(odd) or 'mask'}")
    causal = bool(getattr(module, "is_causal", False)) if is_causal is None else is_causal
    q, k, v = (states.transpose(1, 2).squeeze(0) for states in (query, key, value))  # views
    scale = scaling or q.shape[2] ** -0.5
    out = attend(q, k, v, cu_seq_lens_q, max_length_q, tiles, scale=scale, causal=causal, window=sliding_window)
    return out[None], None


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    edges: Tensor,
    max_length: int,
    tiles: Tensor | None,
    *,
    scale: float,
    causal: bool,
    window: int | None = None,
) -> Tensor:
    """Attend within each text: by our kernel (where tiles were made), torch's varlen one, or text by text.

    `query` is [T, heads, head size], `key` and `value` [T, key heads, head size], any stride
    between tokens; `edges`, `max_length` and `tiles` as in `Packed`. `window` is the tokens
    seen, the own one included; bidirectional: to each side. Returns [T, heads, head size].
    """
    if tiles is not None:
        from embed_corpus.engine.kernels.attention import flash_attention

        query, key, value = map(_side_by_side, (query, key, value))
        mixed: Tensor = flash_attention(query, key, value, tiles, max_length, scale, causal, window or 0)
        return mixed
    if _has_varlen(query):
        return _varlen(query, key, value, edges, max_length, scale=scale, causal=causal, window=window)
    out = torch.zeros_like(query)
    for a, b in pairwise(edges.tolist()):
        mask = _window_mask(b - a, window, causal=causal, device=query.device)
        q, k, v = (states[a:b].transpose(0, 1)[None] for states in (query, key, value))
        out[a:b] = scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=causal and mask is None,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )[0].transpose(0, 1)
    return out


def _side_by_side(states: Tensor) -> Tensor:
    """Return [T, heads, size] with the heads of a token side by side, copied only if they are not."""
    return states if states.stride(2) == 1 and states.stride(1) == states.shape[2] else states.contiguous()


def _has_varlen(query: Tensor) -> bool:
    """Tell whether torch's varlen attention, FlashAttention-2, runs: 16 bits, on Ampere or later."""
    half = query.dtype in (torch.float16, torch.bfloat16)
    return query.is_cuda and half and torch.cuda.get_device_capability(query.device) >= (8, 0)


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    edges: Tensor,
    max_length: int,
    *,
    scale: float,
    causal: bool,
    window: int | None,
) -> Tensor:
    """Call `varlen_attn`; torch 2.11 takes grouped heads unasked, later versions want to be told."""
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in known and query.shape[1] != key.shape[1] else {}
    if "num_splits" in known:
        options["num_splits"] = 1  # a split key range would change the order of sums with the batch
    side = -1 if window is None else window - 1
    bounds = (side, 0) if causal else (side, side)
    out = varlen_attn(
        query, key, value, edges, edges, max_length, max_length, scale=scale, window_size=bounds, **options
    )
    assert isinstance(out, torch.Tensor)
    return out


def _window_mask(n: int, window: int | None, *, causal: bool, device: torch.device) -> Tensor | None:
    """Return bool[n, n], True where a token is seen; None where the window covers everything."""
    if window is None or n <= window:
        return None
    position = torch.arange(n, device=device)
    back = position[:, None] - position
    return (back >= 0) & (back < window) if causal else back.abs() < window
