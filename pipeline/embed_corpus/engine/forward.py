"""From a packed batch to the last hidden states: the ways a model's layers can run."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from embed_corpus.engine import ops
from embed_corpus.engine.families import fuse, with_fp8
from embed_corpus.engine.packed import POOLED_ROWS
from embed_corpus.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.engine.packed import Packed

__all__ = ["Forward", "ModelLayers", "make_forward", "tile_rows_of"]


class Forward(Protocol):
    """One way to run a model's layers.

    Attributes:
        name: for people.
        pools: it returns the token states that pooling reads, one a text, [N, H]; else all.
    """

    name: str
    pools: bool

    def layout(self, edges: NDArray[np.int32], n_tokens: int) -> dict[str, NDArray[np.int32]]:
        """Return the fields of `Packed` that say how texts lie, as this way wants them."""
        ...

    def __call__(self, packed: Packed) -> torch.Tensor:
        """Return the last hidden states, [T, H], or just those that pooling reads."""
        ...


def make_forward(
    model: Any, precision: str, device: torch.device, longest: int, *, pooling: str, compiled: bool
) -> Forward:
    """Choose the fastest way that fits a model: fused layers, else transformers' own, compiled on a GPU.

    Raises:
        ModelError: fp8 where the layers are not fused.
    """
    rows = None if precision == "fp32" else tile_rows_of(model.config, device, longest)
    fused = fuse(model, fp8=precision == "fp8") if compiled else None
    if fused is not None:
        return FusedLayers(fused, rows, pooling)
    if precision == "fp8":
        kind = model.config.model_type
        raise ModelError(
            f"fp8 is there for {with_fp8()} layers only, fused ({kind!r} as it was asked for is not): "
            "use --precision auto."
        )
    return ModelLayers(model, rows, compiled=compiled and rows is not None)


def tile_rows_of(config: Any, device: torch.device, longest: int) -> int | None:
    """Return the tokens of a tile of our attention kernel, or None where it does not run."""
    if not ops.has_kernels(device):
        return None
    from embed_corpus.engine.kernels.attention import tile_rows

    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int):  # of another kind: the self-test will tell whether it can be packed
        return None
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return tile_rows(heads, key_heads, size, longest)


def _layout(edges: NDArray[np.int32], rows: int | None, capacity: int | None = None) -> dict[str, NDArray[np.int32]]:
    """Return the edges, and the tiles of so many rows where our attention runs."""
    if rows is None:
        return {"edges": edges}
    from embed_corpus.engine.kernels.attention import make_tiles

    return {"edges": edges, "tiles": make_tiles(edges, rows, capacity)}


class FusedLayers:
    """Our own form of a model's layers (`families`).

    Where pooling reads one token a text, the end of the last layer is computed for those alone.
    """

    def __init__(self, layers: Any, rows: int | None, pooling: str) -> None:
        self.name = "fused layers" + (", own kernels" if rows else "")
        self.pools = rows is not None and pooling in ("cls", "lasttoken")
        self._layers, self._rows, self._first = layers, rows, pooling == "cls"

    def layout(self, edges: NDArray[np.int32], n_tokens: int) -> dict[str, NDArray[np.int32]]:
        """Return the edges as they are, just the tiles they need, and what pooling reads."""
        fields = _layout(edges, self._rows)
        if not self.pools or self._rows is None:
            return fields
        begin, end, first = tiles = fields["tiles"]
        read = first == 0 if self._first else first + self._rows >= end - begin
        n_texts = len(edges) - 1
        rows = np.zeros(-(-n_texts // POOLED_ROWS) * POOLED_ROWS, np.int32)
        rows[:n_texts] = edges[:-1] if self._first else edges[1:] - 1
        return fields | {"pooled_tiles": tiles[:, read], "pooled_rows": rows}

    def __call__(self, packed: Packed) -> torch.Tensor:
        """Return the last hidden states, [T, H], or just those that pooling reads."""
        hidden: torch.Tensor = self._layers(packed)
        return hidden


class ModelLayers:
    """transformers' own layers around our attention; compiled, every batch has one of three shapes."""

    pools = False

    def __init__(self, model: Any, rows: int | None, *, compiled: bool = False) -> None:
        self.name = "transformers' layers, " + ("compiled" if compiled else "eager")
        self._model, self._rows, self._compiled = model, rows, compiled
        takes_cache = "use_cache" in inspect.signature(model.forward).parameters
        self._options: dict[str, Any] = {"use_cache": False} if takes_cache else {}
        if compiled:
            _compile(model)

    def layout(self, edges: NDArray[np.int32], n_tokens: int) -> dict[str, NDArray[np.int32]]:
        """Return edges and tiles; compiled, filled up to the next capacity of texts: T/64, T/4 or T."""
        if not self._compiled:
            return _layout(edges, self._rows)
        n_texts = len(edges) - 1
        texts = next(c for c in (n_tokens // 64, n_tokens // 4, n_tokens) if c >= n_texts)
        edges = np.concatenate([edges, np.full(texts - n_texts, edges[-1], np.int32)])
        return _layout(edges, self._rows, n_tokens // (self._rows or 1) + texts)

    def __call__(self, packed: Packed) -> torch.Tensor:
        """Return the last hidden states, [T, H]."""
        hidden: torch.Tensor = self._model(
            input_ids=packed.ids[None].long(),
            position_ids=packed.positions[None].long(),
            cu_seq_lens_q=packed.edges,
            cu_seq_lens_k=packed.edges,
            max_length_q=packed.max_length,
            max_length_k=packed.max_length,
            tiles=packed.tiles,
            **self._options,
        ).last_hidden_state[0]
        return hidden


def _compile(model: Any) -> None:
    """Compile each layer for its static shape; layers share their code, so it is built once."""
    import torch._inductor.config as inductor

    # Without this Inductor times candidates and keeps the fastest: another process may keep another,
    # which adds up in another order.
    inductor.deterministic = True
    n_layers = model.config.num_hidden_layers
    lists = (m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == n_layers)
    layers = next(lists, torch.nn.ModuleList())
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 8 + 3 * len(layers))  # noqa: SLF001
    for layer in layers:
        layer.compile(fullgraph=True, dynamic=False)
