"""What stands between two matrix products, and the products themselves: kernels where they run, else plain torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F  # noqa: N812  # its usual name

if TYPE_CHECKING:
    from torch import Tensor

    Rows = Tensor | tuple[Tensor, Tensor]
    """Rows [T, H]; for an fp8 product e4m3 rows and their scales, fp32 [T, 1]."""

__all__ = [
    "Linear",
    "add_layer_norm",
    "add_rms_norm",
    "embed_layer_norm",
    "gelu",
    "has_kernels",
    "norm_rope",
    "pool_rows",
    "quantise",
    "silu_mul",
    "unit_rows",
    "why_no_kernels",
]

E4M3_MAX = 448.0


@cache
def why_no_kernels() -> str:
    """Say why Triton cannot build kernels on this machine; empty if it can."""
    if importlib.util.find_spec("triton") is None:
        return "the Python package triton is not installed"
    if not any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang"))):
        return "there is no C compiler (cc, gcc or clang)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "Python's C headers are missing (install python3-dev)"
    if torch.cuda.is_available():
        from embed_corpus.engine.kernels import rows

        try:
            rows.gelu(torch.zeros(1, device="cuda"))
        except Exception as error:  # noqa: BLE001  # a compiler, a driver, a card that Triton does not know
            return f"Triton fails here ({type(error).__name__}: {str(error).strip().splitlines()[:1]})"
    return ""


def has_kernels(device: torch.device) -> bool:
    """Tell whether our Triton kernels run on a device."""
    return device.type == "cuda" and not why_no_kernels()


@dataclass(frozen=True, slots=True)
class Linear:
    """A matrix product with bias, its weight stored as the product wants it.

    Attributes:
        weight: [out, in]; fp8: e4m3; CPU: packed by oneDNN.
        bias: [out] or None.
        scales: fp8 only: fp32 [1, out].
        kind: "plain", "onednn" or "fp8".
    """

    weight: Tensor
    bias: Tensor | None
    scales: Tensor | None = None
    kind: str = "plain"

    @classmethod
    def of(cls, modules: list[torch.nn.Linear], *, fp8: bool = False) -> Linear:
        """Join linear layers that share their input into one product, outputs side by side.

        The modules' own weights become views of the joined one, so nothing is held twice.
        """
        weight = torch.cat([m.weight.detach() for m in modules]) if len(modules) > 1 else modules[0].weight.detach()
        bias = None if modules[0].bias is None else torch.cat([m.bias.detach() for m in modules])
        if len(modules) > 1:
            for module, own in zip(modules, torch.split(weight, [m.out_features for m in modules]), strict=True):
                module.weight = torch.nn.Parameter(own, requires_grad=False)
        if fp8:
            wide = weight.float()
            scales = wide.abs().amax(1, keepdim=True).clamp(min=1e-12) / E4M3_MAX
            return cls((wide / scales).to(torch.float8_e4m3fn), bias, scales.T.contiguous(), "fp8")
        onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        if weight.device.type == "cpu" and weight.dtype == torch.float32 and onednn:
            # oneDNN with a packed weight: 1.05 to 1.3 times torch's default product here (benchmarks/LOG.md).
            return cls(torch.ops.mkldnn._reorder_linear_weight(weight, _CPU_ROWS), bias, None, "onednn")  # noqa: SLF001
        return cls(weight, bias)

    def __call__(self, x: Rows, activation: str = "none") -> Tensor:
        """Return x W^T + b, [T, out], through `activation` ("none" or "gelu"; fp8 has none)."""
        if self.kind == "fp8":
            assert isinstance(x, tuple)
            assert self.scales is not None
            rows, row_scales = x
            return torch._scaled_mm(  # noqa: SLF001  # torch's only row-wise fp8 product
                rows, self.weight.T, row_scales, self.scales, self.bias, out_dtype=torch.bfloat16, use_fast_accum=True
            )
        assert isinstance(x, torch.Tensor)
        if self.kind == "onednn":
            linear = torch.ops.mkldnn._linear_pointwise  # noqa: SLF001  # what Inductor calls too
            joined: Tensor = linear(x, self.weight, self.bias, activation, [], "none" if activation == "gelu" else "")
            return joined
        out = F.linear(x, self.weight, self.bias)
        return gelu(out) if activation == "gelu" else out


_CPU_ROWS = 1024
"""Rows for which oneDNN packs a weight: the usual CPU batch."""


def gelu(x: Tensor) -> Tensor:
    """Apply the exact (erf) GELU; may overwrite x."""
    if not has_kernels(x.device):
        return F.gelu(x)
    from embed_corpus.engine.kernels import rows

    return rows.gelu(x)


def add_layer_norm(x: Tensor, residual: Tensor, norm: torch.nn.LayerNorm) -> Tensor:
    """Return LayerNorm(x + residual), [T, H]."""
    if not has_kernels(x.device):
        return F.layer_norm(x + residual, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    from embed_corpus.engine.kernels import norms

    return norms.add_layer_norm(x, residual, norm.weight, norm.bias, norm.eps)


def embed_layer_norm(ids: Tensor, positions: Tensor, embeddings: Any) -> Tensor:
    """Return what BERT's embeddings are, [T, H]: the sum of its three tables' rows, normalised (kind 0 throughout)."""
    tables = embeddings.word_embeddings.weight, embeddings.position_embeddings.weight
    kinds, norm = embeddings.token_type_embeddings.weight, embeddings.LayerNorm
    if not has_kernels(ids.device):
        x = F.embedding(ids, tables[0]) + kinds[0]
        return add_layer_norm(x, F.embedding(positions, tables[1]), norm)
    from embed_corpus.engine.kernels import norms

    return norms.embed_layer_norm(ids, positions, (*tables, kinds), norm.weight, norm.bias, norm.eps)


def add_rms_norm(x: Tensor, residual: Tensor | None, weight: Tensor, eps: float, *, fp8: bool = False) -> Rows:
    """Return RMSNorm(x + residual) and leave the sum in `residual` (None: x is the sum)."""
    if has_kernels(x.device):
        from embed_corpus.engine.kernels import norms

        return norms.add_rms_norm(x, residual, weight, eps, fp8=fp8)
    total = x if residual is None else residual.add_(x)
    return _maybe_fp8(_rms_norm(total, weight, eps), fp8=fp8)


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)).to(x.dtype)


def _maybe_fp8(x: Tensor, *, fp8: bool) -> Rows:
    return quantise(x) if fp8 else x


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows [T, H] in e4m3, and their scales (max |x| / 448), fp32 [T, 1]."""
    if has_kernels(x.device):
        from embed_corpus.engine.kernels import rows

        return rows.quantise(x)
    wide = x.float()
    scales = wide.abs().amax(1, keepdim=True).clamp(min=1e-12) / E4M3_MAX
    return (wide / scales).to(torch.float8_e4m3fn), scales


def silu_mul(gate_up: Tensor, *, fp8: bool = False) -> Rows:
    """Return silu(gate) * up, [T, I], for [T, 2 I] that holds gate, then up."""
    if has_kernels(gate_up.device):
        from embed_corpus.engine.kernels import rows

        return rows.silu_mul(gate_up, fp8=fp8)
    gate, up = gate_up.chunk(2, dim=1)
    return _maybe_fp8(F.silu(gate) * up, fp8=fp8)


def norm_rope(
    qkv: Tensor, heads: tuple[int, int], weights: tuple[Tensor, Tensor], eps: float, angles: tuple[Tensor, Tensor]
) -> None:
    """RMS-normalise and rotate the queries and keys inside [T, (q + 2 kv heads) * size], in place.

    `heads` counts those of queries and of keys; `weights` are their norms', [size] each;
    `angles` cos and sin, fp32 [T, size / 2].
    """
    if has_kernels(qkv.device):
        from embed_corpus.engine.kernels import norms

        norms.norm_rope(qkv, heads, weights, eps, angles)
        return
    size, begin = weights[0].shape[0], 0
    cos, sin = (angle[:, None] for angle in angles)
    for n_heads, weight in zip(heads, weights, strict=True):
        part = qkv[:, begin : begin + n_heads * size].view(-1, n_heads, size)
        a, b = _rms_norm(part, weight, eps).float().chunk(2, dim=2)
        part.copy_(torch.cat((a * cos - b * sin, b * cos + a * sin), dim=2))
        begin += n_heads * size


def pool_rows(x: Tensor, edges: Tensor, mode: str, left_out: int = 0) -> Tensor:
    """Join the rows of each text but the first `left_out`, fp32 [N, H]: [T, H] with int32 edges [N + 1].

    `mode` is "mean", "max", or "weightedmean", whose weights are 1, 2, …, counted from the text's begin.
    """
    if has_kernels(x.device):
        from embed_corpus.engine.kernels import rows

        return rows.pool_rows(x, edges, mode, left_out)
    lengths = edges.diff().long()
    filled = x[: int(edges[-1])].float()
    weights = None
    if left_out or mode == "weightedmean":
        place = torch.arange(len(filled), device=x.device) - edges[:-1].long().repeat_interleave(lengths)
        filled, weights = filled[place >= left_out], (place[place >= left_out] + 1).float()[:, None]
        lengths = (lengths - left_out).clamp(min=0)
    if mode != "weightedmean" or weights is None:
        joined = torch.segment_reduce(filled, mode, lengths=lengths, axis=0)
        return torch.where(lengths[:, None] > 0, joined, 0.0) if mode == "mean" else joined
    parts = [torch.segment_reduce(part, "sum", lengths=lengths, axis=0) for part in (filled * weights, weights)]
    return parts[0] / parts[1]


def unit_rows(x: Tensor) -> Tensor:
    """Scale the rows of fp32 [N, H] to unit length; a zero row has no direction and becomes NaN."""
    if has_kernels(x.device):
        from embed_corpus.engine.kernels import norms

        return norms.unit_rows(x)
    unit: Tensor = x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return unit
