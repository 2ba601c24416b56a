"""Row-wise kernels between matrix products: activations, fp8, pooling; `norms.py` holds the norms.

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

__all__ = ["gelu", "pool_rows", "quantise", "rows_like", "silu_mul", "store_row", "warps"]


def warps(n_columns: int) -> int:
    """Return the warps for a row of so many numbers."""
    return 2 if n_columns <= 512 else 4 if n_columns <= 2048 else 8


def rows_like(like: Tensor, shape: tuple[int, int], *, fp8: bool) -> tuple[Tensor, Tensor]:
    """Return where rows go, and their scales (a dummy without fp8)."""
    kind = torch.float8_e4m3fn if fp8 else like.dtype
    scales = torch.empty((shape[0] if fp8 else 1, 1), dtype=torch.float32, device=like.device)
    return torch.empty(shape, dtype=kind, device=like.device), scales


@triton.jit
def store_row(out, scales, row, at, y, there, FP8: tl.constexpr):
    """Store a row y (fp32) at `out + at`; for fp8 scaled to its largest number, with the scale."""
    if FP8:
        scale = tl.maximum(tl.max(tl.abs(y), 0), 1e-12) / 448.0
        tl.store(scales + row, scale)
        y = tl.clamp(y / scale, -448.0, 448.0)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=there)


def silu_mul(gate_up: Tensor, *, fp8: bool = False) -> Rows:
    """Return silu(gate) * up, [T, I], for [T, 2 I] that holds gate, then up."""
    n_rows, n_columns = gate_up.shape[0], gate_up.shape[1] // 2
    out, scales = rows_like(gate_up, (n_rows, n_columns), fp8=fp8)
    _silu_mul[(n_rows,)](
        gate_up, out, scales, n_columns,
        FP8=fp8, BLOCK=triton.next_power_of_2(n_columns), num_warps=warps(n_columns),
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
    store_row(out, scales, row, row * n_columns + column, y.to(kind).to(tl.float32), there, FP8)


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows [T, H] as (e4m3 [T, H], scales fp32 [T, 1])."""
    n_rows, n_columns = x.shape
    out, scales = rows_like(x, (n_rows, n_columns), fp8=True)
    _quantise[(n_rows,)](x, out, scales, n_columns, BLOCK=triton.next_power_of_2(n_columns), num_warps=warps(n_columns))
    return out, scales


@triton.jit
def _quantise(x, out, scales, n_columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    there = column < n_columns
    at = row * n_columns + column
    store_row(out, scales, row, at, tl.load(x + at, mask=there, other=0.0).to(tl.float32), there, True)


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


def pool_rows(x: Tensor, edges: Tensor, mode: str, left_out: int = 0) -> Tensor:
    """Join the rows of each text but the first `left_out`; fp32 [N, H] for [T, H] and int32 [N + 1].

    `mode` is "mean" (0 where nothing is left), "max" or "weightedmean" (weights 1, 2, … from the text's begin).
    """
    n_texts, n_columns = edges.shape[0] - 1, x.shape[1]
    out = torch.empty((n_texts, n_columns), dtype=torch.float32, device=x.device)
    _pool_rows[(n_texts, triton.cdiv(n_columns, 128))](
        x, edges, out, n_columns, left_out,
        WEIGHTED=mode == "weightedmean", MAX=mode == "max", ROWS=32, COLUMNS=128, num_warps=4,
    )  # fmt: skip
    return out


@triton.jit
def _pool_rows(
    x, edges, out, n_columns, left_out,
    WEIGHTED: tl.constexpr, MAX: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0)
    begin = tl.load(edges + text).to(tl.int64)
    length = (tl.load(edges + text + 1) - begin).to(tl.int32)
    row = tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    total = tl.full([ROWS, COLUMNS], float("-inf") if MAX else 0.0, tl.float32)
    weights = tl.zeros([ROWS, COLUMNS], tl.float32)
    for j in range(left_out, length, ROWS):
        there = (j + row[:, None] < length) & (column[None, :] < n_columns)
        at = (begin + j + row)[:, None] * n_columns + column[None, :]
        if MAX:
            value = tl.load(x + at, mask=there, other=float("-inf")).to(tl.float32)
            total = tl.maximum(total, value)
            weights += tl.where(there, value * 0.0, 0.0)  # NaN where the value is not finite: a maximum drops that
        elif WEIGHTED:
            weight = tl.where(there, (j + row[:, None] + 1).to(tl.float32), 0.0)
            total += tl.load(x + at, mask=there, other=0.0).to(tl.float32) * weight
            weights += weight
        else:
            total += tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    if MAX:
        y = tl.max(total, 0) + tl.sum(weights, 0)
    elif WEIGHTED:
        y = tl.sum(total, 0) / tl.sum(weights, 0)
    else:
        y = tl.sum(total, 0) / tl.maximum(length - left_out, 1)
    tl.store(out + text.to(tl.int64) * n_columns + column, y, mask=column < n_columns)
