"""FlashAttention over packed texts: one Triton kernel, short texts first.

Why our own: the FlashAttention-2 that torch bundles reaches 114 TFLOP/s at 450 tokens on an H200
(benchmarks/LOG.md). Here a tile is cut from one text alone, query heads that share a key head
share a tile, and the heaviest tiles start first. The numbers of a row depend on its text only.

Algorithm: Dao, "FlashAttention-2", arXiv 2307.08691 (online softmax in base 2).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor, library  # custom_op reads the annotations

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["flash_attention", "make_tiles", "tile_rows"]

LONG = 2048
"""Texts that may be longer than this are tiled for many keys, others for few."""

_SHORT = {16: (64, 32, 4, 3), 32: (64, 32, 4, 3), 64: (128, 64, 8, 3), 128: (64, 32, 4, 3), 256: (64, 32, 8, 2)}
_MANY = {16: (64, 64, 4, 3), 32: (64, 64, 4, 3), 64: (128, 64, 8, 3), 128: (128, 64, 8, 3), 256: (64, 32, 8, 2)}
"""Head size → (rows of a tile, keys a step, warps, pipeline stages): the fastest of those tried on an
H200 (benchmarks/LOG.md; 16 and 256 untried). The choice depends on the longest text a job may have, not on
the batch, so that a text has the same bits in any batch."""
_SMALL = (64, 32, 4, 2)
"""For cards with little shared memory."""


def _shape(head_size: int, longest: int) -> tuple[int, int, int, int]:
    shape = (_MANY if longest > LONG else _SHORT)[head_size]
    return shape if _shared_bytes(head_size, shape) <= _shared_memory() else _SMALL


def _shared_bytes(head_size: int, shape: tuple[int, int, int, int]) -> int:
    """Return the shared memory that a tile needs at most: its queries, and each stage's keys and values."""
    rows, keys, _, stages = shape
    return 2 * head_size * (rows + 2 * stages * keys)


@cache
def _shared_memory() -> int:
    """Return the bytes that a block may have; without a GPU, in the interpreter, any number."""
    if not torch.cuda.is_available():
        return 1 << 30
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    return int(getattr(properties, "shared_memory_per_block_optin", 65_536))


def tile_rows(heads: int, key_heads: int, head_size: int, longest: int) -> int | None:
    """Return the tokens of one tile, or None if the kernel does not fit such heads."""
    if head_size not in _SHORT or heads % key_heads:
        return None
    if _shared_bytes(head_size, _SMALL) > _shared_memory():
        return None
    return _shape(head_size, longest)[0] // _pack(heads // key_heads)


def _pack(group: int) -> int:
    """Return how many query heads of a key head share a tile: all, if they fill it evenly."""
    return group if group in (1, 2, 4, 8, 16) else 1


def make_tiles(edges: NDArray[np.int32], rows: int, capacity: int | None = None) -> NDArray[np.int32]:
    """Cut the texts into tiles; int32[3, n]: begin of the text, its end, first row within it.

    Long texts come first and within a text its last rows: under a causal mask they are the
    heaviest, and what is heavy must not start last. With a `capacity`, the rest is empty tiles.
    """
    lengths = np.diff(edges)
    order = np.argsort(-lengths, kind="stable")
    order = order[lengths[order] > 0]
    counts = -(-lengths[order] // rows)
    n = int(counts.sum())
    tiles = np.zeros((3, n if capacity is None else capacity), np.int32)
    tiles[0, :n] = np.repeat(edges[order], counts)
    tiles[1, :n] = np.repeat(edges[order + 1], counts)
    tiles[2, :n] = (np.repeat(np.cumsum(counts), counts) - 1 - np.arange(n)) * rows
    return tiles


@library.custom_op("embed_corpus::tiled_attention", mutates_args=())
def flash_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tiles: Tensor,
    longest: int,
    scale: float,
    causal: bool,
    window: int,
) -> Tensor:
    """Attend within each text.

    Args:
        query: [T, heads, head size], fp16 or bf16; heads of a token side by side.
        key: [T, key heads, head size]; value likewise; any stride between tokens.
        value: see key.
        tiles: int32[3, n] from `make_tiles` with `tile_rows` rows.
        longest: tokens of the longest text that a job may have.
        scale: of the scores, > 0.
        causal: a token sees none after it.
        window: tokens seen, the own one included (bidirectional: to each side); 0 is all.

    Returns:
        [T, heads, head size], contiguous. Rows of no text are left unset.
    """
    n_tokens, heads, size = query.shape
    group = heads // key.shape[1]
    pack = _pack(group)
    rows, step, warps, stages = _shape(size, longest)
    out = torch.empty((n_tokens, heads, size), dtype=query.dtype, device=query.device)
    _attend[(tiles.shape[1], heads // pack)](
        query,
        key,
        value,
        out,
        tiles,
        tiles.shape[1],
        query.stride(0),
        key.stride(0),
        value.stride(0),
        out.stride(0),
        scale * 1.4426950408889634,  # log2(e): exp2 is the hardware's own
        HEAD=size,
        GROUP=group,
        PACK=pack,
        M=rows,
        N=step,
        CAUSAL=causal,
        WINDOW=window,
        num_warps=warps,
        num_stages=stages,
    )
    return out


@flash_attention.register_fake
def _(query: Tensor, *_: object) -> Tensor:
    return torch.empty(query.shape, dtype=query.dtype, device=query.device)


@triton.jit
def _attend(
    query, key, value, out, tiles, n_tiles, q_row, k_row, v_row, o_row, scale,
    HEAD: tl.constexpr, GROUP: tl.constexpr, PACK: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    begin = tl.load(tiles + tile).to(tl.int64)
    length = tl.load(tiles + n_tiles + tile) - begin.to(tl.int32)
    first = tl.load(tiles + 2 * n_tiles + tile)
    if length == 0:
        return
    head = tl.program_id(1) * PACK
    row = tl.arange(0, M)
    at = first + row // PACK
    column = tl.arange(0, HEAD)
    in_row = ((head + row % PACK) * HEAD)[:, None] + column[None, :]
    there = at[:, None] < length
    q = tl.load(query + (begin + at[:, None]) * q_row + in_row, mask=there, other=0.0)
    step = tl.arange(0, N)
    in_key = (head // GROUP) * HEAD
    keys = key + begin * k_row + in_key + step[None, :] * k_row + column[:, None]
    values = value + begin * v_row + in_key + step[:, None] * v_row + column[None, :]

    top = tl.full([M], -1e30, tl.float32)
    total = tl.zeros([M], tl.float32)
    mixed = tl.zeros([M, HEAD], tl.float32)
    last = tl.minimum(first + M // PACK, length)  # rows of this tile end here
    start = 0
    stop = last if CAUSAL else length
    whole = first // N * N if CAUSAL else length // N * N  # up to here every row sees every key
    if WINDOW > 0:
        start = tl.maximum(first - WINDOW + 1, 0) // N * N
        whole = start
        if not CAUSAL:
            stop = tl.minimum(last + WINDOW - 1, length)
    for j in range(start, whole, N):
        scores = tl.dot(q, tl.load(keys + j * k_row))
        v = tl.load(values + j * v_row)
        top, total, mixed = _mix(scores, v, scale, top, total, mixed)
    for j in range(whole, stop, N):
        other = j + step
        scores = tl.dot(q, tl.load(keys + j * k_row, mask=other[None, :] < length, other=0.0))
        seen = other[None, :] < length
        if CAUSAL:
            seen = seen & (other[None, :] <= at[:, None])
        if WINDOW > 0:
            seen = seen & (at[:, None] - other[None, :] < WINDOW)
            if not CAUSAL:
                seen = seen & (other[None, :] - at[:, None] < WINDOW)
        v = tl.load(values + j * v_row, mask=other[:, None] < length, other=0.0)
        top, total, mixed = _mix(tl.where(seen, scores, float("-inf")), v, scale, top, total, mixed)
    mixed = (mixed / total[:, None]).to(out.dtype.element_ty)
    tl.store(out + (begin + at[:, None]) * o_row + in_row, mixed, mask=there)


@triton.jit
def _mix(scores, v, scale, top, total, mixed):
    """Take one more block of keys into the running maximum, sum and weighted values."""
    fresh = tl.maximum(top, tl.max(scores, 1) * scale)
    p = tl.math.exp2(scores * scale - fresh[:, None])
    fade = tl.math.exp2(top - fresh)
    return fresh, total * fade + tl.sum(p, 1), tl.dot(p.to(v.dtype), v, mixed * fade[:, None])
