"""Qwen3, fused: decoder layers with norms on the heads, rotary positions and SwiGLU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import embedding

from embed_corpus.engine import ops
from embed_corpus.engine.attention import attend
from embed_corpus.engine.packed import POOLED_ROWS

if TYPE_CHECKING:
    from torch import Tensor

    from embed_corpus.engine.packed import Packed

__all__ = ["FusedDecoder", "fuse"]


def fuse(model: Any, *, fp8: bool) -> FusedDecoder | None:
    """Return the fused form of transformers' model, or None if it asks for what the kernels cannot do."""
    config = model.config
    plain = config.hidden_act == "silu" and config.rope_parameters.get("rope_type", "default") == "default"
    windows = any(layer.self_attn.sliding_window is not None for layer in model.layers)
    causal = getattr(config, "is_causal", True) is not False
    even = config.head_dim & (config.head_dim - 1) == 0  # what the kernels can do
    fits = plain and causal and even and not windows and not config.attention_bias
    return FusedDecoder(model, fp8=fp8) if fits else None


class FusedDecoder:
    """Qwen3: pre-norm layers, grouped heads, norm on each head, rotary positions, SwiGLU."""

    def __init__(self, model: Any, *, fp8: bool = False) -> None:
        self._embedding = model.embed_tokens.weight
        self._rotary = model.rotary_emb
        self._layers = [_DecoderLayer(layer, fp8=fp8) for layer in model.layers]
        self._norm = model.norm

    def __call__(self, packed: Packed) -> Tensor:
        """Return the last hidden states, [T, H], or just those that pooling reads, [N, H]."""
        angles = self._angles(packed.positions)
        x = embedding(packed.ids, self._embedding)
        residual = None
        for layer in self._layers[:-1]:
            x, residual = layer.feed(*layer.mix(x, residual, angles, packed, packed.tiles))
        last = self._layers[-1]
        mixed, residual = last.mix(x, residual, angles, packed, packed.last_tiles)
        if packed.pooled_rows is None:
            return self._finish(*last.feed(mixed, residual))
        parts = torch.split(packed.pooled_rows, POOLED_ROWS)
        return torch.cat([self._finish(*last.feed(mixed[rows], residual[rows])) for rows in parts])

    def _finish(self, x: Tensor, residual: Tensor) -> Tensor:
        hidden = ops.add_rms_norm(x, residual, self._norm.weight, self._norm.variance_epsilon)
        assert isinstance(hidden, torch.Tensor)
        return hidden

    def _angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin of the rotations, fp32 [T, head size / 2] each."""
        wide = torch.empty(0, dtype=torch.float32, device=positions.device)
        cos, sin = self._rotary(wide, positions[None].long())
        half = cos.shape[2] // 2
        return cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous()


class _DecoderLayer:
    def __init__(self, layer: Any, *, fp8: bool) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._fp8 = fp8
        self._first, self._second = layer.input_layernorm, layer.post_attention_layernorm
        self._qkv = ops.Linear.of([attention.q_proj, attention.k_proj, attention.v_proj], fp8=fp8)
        self._out = ops.Linear.of([attention.o_proj], fp8=fp8)
        self._gate_up = ops.Linear.of([mlp.gate_proj, mlp.up_proj], fp8=fp8)
        self._down = ops.Linear.of([mlp.down_proj], fp8=fp8)
        self._size, self._scale = attention.head_dim, attention.scaling
        self._heads = (
            attention.q_proj.out_features // attention.head_dim,
            attention.k_proj.out_features // attention.head_dim,
        )
        self._head_norms = (attention.q_norm.weight, attention.k_norm.weight)
        self._eps = attention.q_norm.variance_epsilon

    def mix(
        self, x: Tensor, residual: Tensor | None, angles: tuple[Tensor, Tensor], packed: Packed, tiles: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Attend; returns the heads' outputs, [T, heads x size], and the residual stream with x in it."""
        normed = ops.add_rms_norm(x, residual, self._first.weight, self._first.variance_epsilon, fp8=self._fp8)
        residual = x if residual is None else residual
        qkv = self._qkv(normed)
        ops.norm_rope(qkv, self._heads, self._head_norms, self._eps, angles)
        n, (heads, key_heads) = qkv.shape[0], self._heads
        states = qkv.view(n, -1, self._size)
        q, k, v = states[:, :heads], states[:, heads : heads + key_heads], states[:, heads + key_heads :]
        mixed = attend(q, k, v, packed.edges, packed.max_length, tiles, scale=self._scale, causal=True)
        return mixed.reshape(n, -1), residual

    def feed(self, mixed: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Do the rest, row by row; returns what is to be added (by the next norm) to the residual stream, and that."""
        x = self._out(ops.quantise(mixed) if self._fp8 else mixed)
        normed = ops.add_rms_norm(x, residual, self._second.weight, self._second.variance_epsilon, fp8=self._fp8)
        return self._down(ops.silu_mul(self._gate_up(normed), fp8=self._fp8)), residual
