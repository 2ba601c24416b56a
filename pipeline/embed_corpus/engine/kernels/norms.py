"""Norm kernels: each with the addition or rotation beside it, in one pass over memory.

As in `rows.py`, a row's bits depend on that row alone, and fp8 rows come with their scales.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from embed_corpus.engine.kernels.rows import rows_like, store_row, warps

if TYPE_CHECKING:
    from torch import Tensor

    Rows = Tensor | tuple[Tensor, Tensor]

__all__ = ["add_layer_norm", "add_rms_norm", "embed_layer_norm", "norm_rope", "unit_rows"]


def add_rms_norm(x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, *, fp8: bool = False) -> Rows:
    """Add x to the residual stream in place (None: x is its begin) and return the normalised rows.

    `x` and `residual` are [T, H]. With fp8: (e4m3 [T, H], scales fp32 [T, 1]).
    """
    n_rows, n_columns = x.shape
    out, scales = rows_like(x, (n_rows, n_columns), fp8=fp8)
    _add_rms_norm[(n_rows,)](
        x, x if residual is None else residual, weight, out, scales, n_columns, eps,
        ADD=residual is not None, FP8=fp8, BLOCK=triton.next_power_of_2(n_columns), num_warps=warps(n_columns),
    )  # fmt: skip
    return (out, scales) if fp8 else out


@triton.jit
def _add_rms_norm(
    x, residual, weight, out, scales, n_columns, eps, ADD: tl.constexpr, FP8: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    there = column < n_columns
    at = row * n_columns + column
    h = tl.load(x + at, mask=there, other=0.0)
    kind = h.dtype
    if ADD:
        h = (h.to(tl.float32) + tl.load(residual + at, mask=there, other=0.0).to(tl.float32)).to(kind)
        tl.store(residual + at, h, mask=there)
    h = h.to(tl.float32)
    y = (h * tl.math.rsqrt(tl.sum(h * h, 0) / n_columns + eps)).to(kind).to(tl.float32)
    y = (y * tl.load(weight + column, mask=there, other=0.0).to(tl.float32)).to(kind).to(tl.float32)
    store_row(out, scales, row, at, y, there, FP8)


def add_layer_norm(x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return LayerNorm(x + residual), rows [T, H]."""
    n_rows, n_columns = x.shape
    out = torch.empty_like(x)
    _add_layer_norm[(triton.cdiv(n_rows, 4),)](
        x, residual, weight, bias, out, n_rows, n_columns, eps,
        ROWS=4, BLOCK=triton.next_power_of_2(n_columns), num_warps=4 if n_columns <= 1024 else 8,
    )  # fmt: skip
    return out


@triton.jit
def _norm_rows(h, weight, bias, out, at, there, n_columns, eps, BLOCK: tl.constexpr):
    """LayerNorm of rows h, rounded to their own type first, into `out + at`."""
    kind = out.dtype.element_ty
    h = h.to(kind).to(tl.float32)
    column = tl.arange(0, BLOCK)
    inside = column < n_columns
    mean = tl.sum(h, 1) / n_columns
    off = tl.where(there, h - mean[:, None], 0.0)
    y = off * tl.math.rsqrt(tl.sum(off * off, 1) / n_columns + eps)[:, None]
    y = y * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)[None, :]
    y = y + tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)[None, :]
    tl.store(out + at, y.to(kind), mask=there)


@triton.jit
def _add_layer_norm(x, residual, weight, bias, out, n_rows, n_columns, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    there = (row < n_rows)[:, None] & (column < n_columns)[None, :]
    at = row[:, None] * n_columns + column[None, :]
    h = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    h += tl.load(residual + at, mask=there, other=0.0).to(tl.float32)
    _norm_rows(h, weight, bias, out, at, there, n_columns, eps, BLOCK)


def embed_layer_norm(
    ids: Tensor, positions: Tensor, tables: tuple[Tensor, Tensor, Tensor], weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """Return LayerNorm(words[ids] + kinds[0] + places[positions]), [T, H]; `tables` are words, places, kinds."""
    words, places, kinds = tables
    n_rows, n_columns = len(ids), words.shape[1]
    out = torch.empty((n_rows, n_columns), dtype=words.dtype, device=words.device)
    _embed_layer_norm[(triton.cdiv(n_rows, 4),)](
        ids, positions, words, places, kinds, weight, bias, out, n_rows, n_columns, eps,
        ROWS=4, BLOCK=triton.next_power_of_2(n_columns), num_warps=4 if n_columns <= 1024 else 8,
    )  # fmt: skip
    return out


@triton.jit
def _embed_layer_norm(
    ids, positions, words, places, kinds, weight, bias, out, n_rows, n_columns, eps,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = column < n_columns
    there = (row < n_rows)[:, None] & inside[None, :]
    word = tl.load(ids + row, mask=row < n_rows, other=0).to(tl.int64)[:, None] * n_columns
    place = tl.load(positions + row, mask=row < n_rows, other=0).to(tl.int64)[:, None] * n_columns
    h = tl.load(words + word + column[None, :], mask=there, other=0.0)
    kind = h.dtype
    h = h.to(tl.float32) + tl.load(kinds + column, mask=inside, other=0.0).to(tl.float32)[None, :]
    h = h.to(kind).to(tl.float32)  # added up as transformers' module does
    h += tl.load(places + place + column[None, :], mask=there, other=0.0).to(tl.float32)
    _norm_rows(h, weight, bias, out, row[:, None] * n_columns + column[None, :], there, n_columns, eps, BLOCK)


def norm_rope(
    qkv: Tensor, heads: tuple[int, int], weights: tuple[Tensor, Tensor], eps: float, angles: tuple[Tensor, Tensor]
) -> None:
    """Normalise and rotate the queries and keys inside [T, (q + 2 kv heads) * size], in place.

    `heads` are those of queries and keys; `weights` their norms', [size] each; `angles` cos and
    sin, fp32 [T, size / 2] (halves rotated against each other, as Llama and Qwen do).
    """
    size = weights[0].shape[0]
    _norm_rope[(triton.cdiv(qkv.shape[0], 16), heads[0] + heads[1])](
        qkv, *weights, *angles, qkv.shape[0], qkv.stride(0), heads[0], eps, HALF=size // 2, ROWS=16, num_warps=4
    )


@triton.jit
def _norm_rope(qkv, q_weight, k_weight, cos, sin, n_rows, stride, q_heads, eps, HALF: tl.constexpr, ROWS: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    head = tl.program_id(1)
    column = tl.arange(0, HALF)
    there = row[:, None] < n_rows
    at = qkv + row[:, None].to(tl.int64) * stride + head * (2 * HALF) + column[None, :]
    a = tl.load(at, mask=there, other=0.0)
    b = tl.load(at + HALF, mask=there, other=0.0)
    kind = a.dtype
    a, b = a.to(tl.float32), b.to(tl.float32)
    by = tl.math.rsqrt((tl.sum(a * a, 1) + tl.sum(b * b, 1)) / (2 * HALF) + eps)[:, None]
    if head < q_heads:
        w_a, w_b = tl.load(q_weight + column), tl.load(q_weight + HALF + column)
    else:
        w_a, w_b = tl.load(k_weight + column), tl.load(k_weight + HALF + column)
    a = (a * by).to(kind).to(tl.float32) * w_a[None, :].to(tl.float32)
    b = (b * by).to(kind).to(tl.float32) * w_b[None, :].to(tl.float32)
    turn = row[:, None] * HALF + column[None, :]
    c = tl.load(cos + turn, mask=there, other=0.0)
    s = tl.load(sin + turn, mask=there, other=0.0)
    tl.store(at, (a * c - b * s).to(kind), mask=there)
    tl.store(at + HALF, (b * c + a * s).to(kind), mask=there)


def unit_rows(x: Tensor) -> Tensor:
    """Scale the rows of fp32 [N, H] to unit length, in place, and return them; a zero row becomes NaN."""
    n_rows, n_columns = x.shape
    _unit_rows[(n_rows,)](x, n_columns, BLOCK=triton.next_power_of_2(n_columns), num_warps=warps(n_columns))
    return x


@triton.jit
def _unit_rows(x, n_columns, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    at = x + tl.program_id(0).to(tl.int64) * n_columns + column
    y = tl.load(at, mask=column < n_columns, other=0.0)
    tl.store(at, y / tl.sqrt_rn(tl.sum(y * y, 0)), mask=column < n_columns)
