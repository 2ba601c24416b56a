"""The padded path, for models that cannot take packed batches: sorted by length, within the token budget."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embed_corpus.engine.packed import Packed

__all__ = ["PADDED_WINDOW", "PaddedLayers", "run_padded", "stock_attention"]

PADDED_WINDOW = 32
"""Forward passes' worth of tokens that are sorted by length together."""
_STEP = 32
"""Widths are multiples of this: a text is padded by its own length, not by its neighbours'."""


class PaddedLayers:
    """A model's own forward over padded rows; hidden states come out packed again.

    A text's width hangs on its own length and every pass has the rows that width always has,
    so that its bits do not hang on the texts around it.
    """

    name = "padded, sorted by length"
    pools = False

    def __init__(self, model: Any, longest: int, budget: int) -> None:
        self._model, self._longest, self._budget = model, longest, budget
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

    def __call__(self, packed: Packed) -> torch.Tensor:
        """Return the last hidden states, [T, H]; zeros where no text is."""
        hidden: torch.Tensor | None = None
        for begins, lengths, width in self._groups(packed.cu_seqlens):
            column = np.arange(width)
            there = column < lengths[:, None]
            at = torch.from_numpy(np.where(there, begins[:, None] + column, 0)).to(packed.ids.device)
            mask = torch.from_numpy(there).to(at.device)
            ids = torch.where(mask, packed.ids.long()[at], self._pad)
            with stock_attention(self._model):
                states = run_padded(self._model, ids, mask)
            if hidden is None:
                hidden = states.new_zeros(len(packed.ids), states.shape[2])
            hidden[at[mask]] = states[mask]
        assert hidden is not None
        return hidden

    def _groups(self, edges: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], int]]:
        """Yield begins and lengths of texts of one width; a short group is filled up with its first text."""
        begins, lengths = edges[:-1].astype(np.int64), np.diff(edges).astype(np.int64)
        widths = np.minimum(-(-lengths // _STEP) * _STEP, self._longest)
        for width in np.unique(widths).tolist():
            members = np.flatnonzero(widths == width)
            n_rows = max(1, self._budget // width)
            for first in range(0, len(members), n_rows):
                group = members[first : first + n_rows]
                group = np.concatenate([group, np.full(n_rows - len(group), group[0])])
                yield begins[group], lengths[group], width


def run_padded(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Run a model the plain way; ids and mask [rows, width], returns [rows, width, H]."""
    states: torch.Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return states


@contextmanager
def stock_attention(model: Any) -> Iterator[None]:
    """Give a model transformers' own attention for a while."""
    before = model.config._attn_implementation  # noqa: SLF001  # what its layers read at each call
    model.config._attn_implementation = "sdpa" if model._supports_sdpa else "eager"  # noqa: SLF001
    try:
        with torch.compiler.set_stance("force_eager"):  # its layers may be compiled for another shape
            yield
    finally:
        model.config._attn_implementation = before  # noqa: SLF001
