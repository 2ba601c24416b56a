"""The padded path, for models that cannot take packed batches: sorted by length, within the token budget."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from embed_corpus.engine.packed import Packed

__all__ = ["PADDED_WINDOW", "PaddedLayers", "run_padded", "stock_attention"]

PADDED_WINDOW = 32
"""Forward passes' worth of tokens that are sorted by length together."""
_STEP = 32
"""Widths are multiples of this: a text is padded by its own length, not by its neighbours'."""


class PaddedLayers:
    """A model's own forward over padded rows, pooled pass by pass: [N, dim], fp32.

    A text's width depends on its own length and every pass has the rows that width always has,
    so that its bits do not depend on the texts around it.
    """

    name = "padded, sorted by length"
    pools = True

    def __init__(self, model: Any, longest: int, budget: int, pool: Callable[[Tensor, Tensor], Tensor]) -> None:
        """`pool` turns token states, [T, H], and edges, int32[N + 1], into [N, dim]."""
        self._model, self._longest, self._budget, self._pool = model, longest, budget, pool
        self._pad = int(getattr(model.config, "pad_token_id", None) or 0)

    def halve(self) -> bool:
        """Take half as many rows a pass from now on; False if there was but one already."""
        if self._budget <= self._longest:
            return False
        self._budget //= 2
        return True

    def layout(self, edges: NDArray[np.int32], n_tokens: int) -> dict[str, NDArray[np.int32]]:
        """Return the edges as they are."""
        return {"edges": edges}

    def __call__(self, packed: Packed) -> Tensor:
        """Return the pooled states of each text, in order, [N, dim]."""
        with stock_attention(self._model):
            return self._pooled(packed, packed.ids.long())

    def _pooled(self, packed: Packed, all_ids: Tensor) -> Tensor:
        pooled: Tensor | None = None
        for members, width in self._groups(packed.cu_seqlens):
            begins = packed.cu_seqlens[members].astype(np.int64)
            lengths = packed.cu_seqlens[members + 1] - begins
            column = np.arange(width)
            there = column < lengths[:, None]
            at = torch.from_numpy(np.where(there, begins[:, None] + column, 0)).to(packed.ids.device)
            mask = torch.from_numpy(there).to(at.device)
            ids = torch.where(mask, all_ids[at], self._pad)
            states = run_padded(self._model, ids, mask)
            edges = torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)).to(at.device)
            vectors = self._pool(states[mask], edges)
            if pooled is None:
                pooled = vectors.new_empty(len(packed.cu_seqlens) - 1, vectors.shape[1])
            pooled[torch.from_numpy(members).to(at.device)] = vectors
        assert pooled is not None
        return pooled

    def _groups(self, edges: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Yield the numbers of texts of one width; a short group is filled up with its first text."""
        widths = np.minimum(-(-np.diff(edges).astype(np.int64) // _STEP) * _STEP, self._longest)
        for width in np.unique(widths).tolist():
            members = np.flatnonzero(widths == width)
            n_rows = max(1, self._budget // width)
            for first in range(0, len(members), n_rows):
                group = members[first : first + n_rows]
                yield np.concatenate([group, np.full(n_rows - len(group), group[0])]), width


def run_padded(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Run a model the plain way; ids and mask [rows, width], returns [rows, width, H]."""
    states: torch.Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return states


@contextmanager
def stock_attention(model: Any) -> Iterator[None]:
    """Give a model, with all its parts, transformers' own attention for a while."""
    found: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    configs: list[Any] = list({id(c): c for c in found if hasattr(c, "_attn_implementation")}.values())
    before = [config._attn_implementation for config in configs]  # noqa: SLF001  # what layers read at each call
    stock = "sdpa" if model._supports_sdpa else "eager"  # noqa: SLF001
    for config in configs:
        config._attn_implementation = stock  # noqa: SLF001
    try:
        with torch.compiler.set_stance("force_eager"):  # its layers may be compiled for another shape
            yield
    finally:
        for config, name in zip(configs, before, strict=True):
            config._attn_implementation = name  # noqa: SLF001
