"""Row-wise kernels: everything between two matrix products in one pass over memory.

One program works on one row (or a few) with fixed block sizes, so a row's bits depend on that
row alone. Those that feed an fp8 product also write the row's scale: max |x| / 448, the largest
e4m3 number. Statistics are taken in fp32, and rounded where transformers' modules round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from torch import Tensor

    Rows = Tensor | tuple[Tensor, Tensor]

__all__ = ["add_layer_norm", "add_rms_norm", "gelu", "mean_rows", "norm_rope", "quantise", "silu_mul", "unit_rows"]


def _warps(n_columns: int) -> int:
    return 2 if n_columns <= 512 else 4 if n_columns <= 2048 else 8


def _target(like: Tensor, shape: tuple[int, int], *, fp8: bool) -> tuple[Tensor, Tensor]:
    """Return where rows go, and their scales (a dummy without fp8)."""
    kind = torch.float8_e4m3fn if fp8 else like.dtype
    scales = torch.empty((shape[0] if fp8 else 1, 1), dtype=torch.float32, device=like.device)
    return torch.empty(shape, dtype=kind, device=like.device), scales


def add_rms_norm(x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, *, fp8: bool = False) -> Rows:
    """Add x to the residual stream in place (None: x is its begin) and return the normalised rows.

    `x` and `residual` are [T, H]. With fp8: (e4m3 [T, H], scales fp32 [T, 1]).
    """
    n_rows, n_columns = x.shape
    out, scales = _target(x, (n_rows, n_columns), fp8=fp8)
    _add_rms_norm[(n_rows,)](
        x, x if residual is None else residual, weight, out, scales, n_columns, eps,
        ADD=residual is not None, FP8=fp8, BLOCK=triton.next_power_of_2(n_columns), num_warps=_warps(n_columns),
    )  # fmt: skip
    return (out, scales) if fp8 else out


@triton.jit
def _store_row(out, scales, row, at, y, there, FP8: tl.constexpr):
    if FP8:
        scale = tl.maximum(tl.max(tl.abs(y), 0), 1e-12) / 448.0
        tl.store(scales + row, scale)
        y = tl.clamp(y / scale, -448.0, 448.0)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=there)


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
    _store_row(out, scales, row, at, y, there, FP8)


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
def _add_layer_norm(x, residual, weight, bias, out, n_rows, n_columns, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = column < n_columns
    there = (row < n_rows)[:, None] & inside[None, :]
    at = row[:, None] * n_columns + column[None, :]
    h = tl.load(x + at, mask=there, other=0.0)
    kind = h.dtype
    h = (h.to(tl.float32) + tl.load(residual + at, mask=there, other=0.0).to(tl.float32)).to(kind).to(tl.float32)
    mean = tl.sum(h, 1) / n_columns
    off = tl.where(there, h - mean[:, None], 0.0)
    y = off * tl.math.rsqrt(tl.sum(off * off, 1) / n_columns + eps)[:, None]
    y = y * tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)[None, :]
    y = y + tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)[None, :]
    tl.store(out + at, y.to(kind), mask=there)


def silu_mul(gate_up: Tensor, *, fp8: bool = False) -> Rows:
    """Return silu(gate) * up, [T, I], for [T, 2 I] that holds gate, then up."""
    n_rows, n_columns = gate_up.shape[0], gate_up.shape[1] // 2
    out, scales = _target(gate_up, (n_rows, n_columns), fp8=fp8)
    _silu_mul[(n_rows,)](
        gate_up, out, scales, n_columns,
        FP8=fp8, BLOCK=triton.next_power_of_2(n_columns), num_warps=_warps(n_columns),
    )  # fmt: skip
    return (out, scales) if fp8 else out


@triton.jit
def _silu_mul(gate_up, out, scales, n_columns, FP8: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    there = column < n_columns
    gate = tl.load(gate_up + row * 2 * n_columns + column, mask=there, other=0.0)
    kind = gate.dtype
    up = tl.load(gate_up + (row * 2 + 1) * n_columns + column, mask=there, other=0.0).to(tl.float32)
    gate = gate.to(tl.float32)
    y = (gate / (1.0 + tl.exp(-gate))).to(kind).to(tl.float32) * up
    _store_row(out, scales, row, row * n_columns + column, y.to(kind).to(tl.float32), there, FP8)


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows [T, H] as (e4m3 [T, H], scales fp32 [T, 1])."""
    n_rows, n_columns = x.shape
    out, scales = _target(x, (n_rows, n_columns), fp8=True)
    _quantise[(n_rows,)](
        x, out, scales, n_columns, BLOCK=triton.next_power_of_2(n_columns), num_warps=_warps(n_columns)
    )
    return out, scales


@triton.jit
def _quantise(x, out, scales, n_columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    there = column < n_columns
    at = row * n_columns + column
    _store_row(out, scales, row, at, tl.load(x + at, mask=there, other=0.0).to(tl.float32), there, True)


def gelu(x: Tensor) -> Tensor:
    """Apply the erf form of GELU to [T, I] in place and return it.

    erf is Abramowitz and Stegun's 7.1.26, off by 1.5e-7 at most: a tenth of the instructions of
    the library's, which made this kernel wait for arithmetic instead of memory.
    """
    _gelu[(triton.cdiv(x.numel(), 4096),)](x, x.numel(), BLOCK=4096, num_warps=8)
    return x


@triton.jit
def _gelu(x, n, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    h = tl.load(x + at, mask=at < n, other=0.0)
    y = h.to(tl.float32)
    z = tl.abs(y) * 0.7071067811865476
    t = 1.0 / (1.0 + 0.3275911 * z)
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = tail * tl.math.exp2(z * z * -1.4426950408889634)  # 1 - erf(z)
    y = tl.where(y > 0, y - 0.5 * y * tail, 0.5 * y * tail)
    tl.store(x + at, y.to(h.dtype), mask=at < n)


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


def mean_rows(x: Tensor, edges: Tensor) -> Tensor:
    """Average the rows of each text; fp32 [N, H] for [T, H] and int32 [N + 1]; 0 for an empty text."""
    n_texts, n_columns = edges.shape[0] - 1, x.shape[1]
    out = torch.empty((n_texts, n_columns), dtype=torch.float32, device=x.device)
    _mean_rows[(n_texts, triton.cdiv(n_columns, 128))](x, edges, out, n_columns, ROWS=32, COLUMNS=128, num_warps=4)
    return out


@triton.jit
def _mean_rows(x, edges, out, n_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    text = tl.program_id(0)
    begin = tl.load(edges + text).to(tl.int64)
    length = (tl.load(edges + text + 1) - begin).to(tl.int32)
    row = tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for j in range(0, length, ROWS):
        there = (j + row[:, None] < length) & (column[None, :] < n_columns)
        at = (begin + j + row)[:, None] * n_columns + column[None, :]
        total += tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    mean = tl.sum(total, 0) / tl.maximum(length, 1)
    tl.store(out + text.to(tl.int64) * n_columns + column, mean, mask=column < n_columns)


def unit_rows(x: Tensor) -> Tensor:
    """Scale the rows of fp32 [N, H] to unit length, in place, and return them; a zero row becomes NaN."""
    n_rows, n_columns = x.shape
    _unit_rows[(n_rows,)](x, n_columns, BLOCK=triton.next_power_of_2(n_columns), num_warps=_warps(n_columns))
    return x


@triton.jit
def _unit_rows(x, n_columns, BLOCK: tl.constexpr):
    column = tl.arange(0, BLOCK)
    at = x + tl.program_id(0).to(tl.int64) * n_columns + column
    y = tl.load(at, mask=column < n_columns, other=0.0)
    tl.store(at, y / tl.sqrt_rn(tl.sum(y * y, 0)), mask=column < n_columns)
