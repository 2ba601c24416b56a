"""BERT and RoBERTa, fused: post-norm encoder layers, learned positions, GELU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from embed_corpus.engine import ops
from embed_corpus.engine.attention import attend
from embed_corpus.engine.packed import POOLED_ROWS

if TYPE_CHECKING:
    from torch import Tensor

    from embed_corpus.engine.packed import Packed

__all__ = ["FusedEncoder", "fuse"]


def fuse(model: Any, *, fp8: bool) -> FusedEncoder | None:
    """Return the fused form of transformers' model, or None if it asks for what the kernels cannot do."""
    config = model.config
    plain = config.hidden_act == "gelu" and not config.is_decoder and not fp8
    return FusedEncoder(model) if plain else None


class FusedEncoder:
    """BERT and RoBERTa: post-norm layers, learned positions, GELU."""

    def __init__(self, model: Any) -> None:
        self._embeddings = model.embeddings
        self._layers = [_EncoderLayer(layer) for layer in model.encoder.layer]

    def __call__(self, packed: Packed) -> Tensor:
        """Return the last hidden states, [T, H], or just those that pooling reads, [N, H]."""
        x = ops.embed_layer_norm(packed.ids, packed.positions, self._embeddings)
        for layer in self._layers[:-1]:
            x = layer.feed(layer.mix(x, packed, packed.tiles), x)
        last = self._layers[-1]
        mixed = last.mix(x, packed, packed.last_tiles)
        if packed.pooled_rows is None:
            return last.feed(mixed, x)
        return torch.cat([last.feed(mixed[rows], x[rows]) for rows in torch.split(packed.pooled_rows, POOLED_ROWS)])


class _EncoderLayer:
    def __init__(self, layer: Any) -> None:
        own = layer.attention.self
        self._heads, self._size, self._scale = own.num_attention_heads, own.attention_head_size, own.scaling
        self._qkv = ops.Linear.of([own.query, own.key, own.value])
        self._out = ops.Linear.of([layer.attention.output.dense])
        self._up = ops.Linear.of([layer.intermediate.dense])
        self._down = ops.Linear.of([layer.output.dense])
        self._first, self._second = layer.attention.output.LayerNorm, layer.output.LayerNorm

    def mix(self, x: Tensor, packed: Packed, tiles: Tensor | None) -> Tensor:
        """Attend; returns the heads' outputs, [T, H]."""
        n = x.shape[0]
        q, k, v = self._qkv(x).view(n, 3, self._heads, self._size).unbind(1)
        mixed = attend(q, k, v, packed.edges, packed.max_length, tiles, scale=self._scale, causal=False)
        return mixed.reshape(n, -1)

    def feed(self, mixed: Tensor, x: Tensor) -> Tensor:
        """Do the rest of the layer, row by row."""
        x = ops.add_layer_norm(self._out(mixed), x, self._first)
        return ops.add_layer_norm(self._down(self._up(x, "gelu")), x, self._second)
