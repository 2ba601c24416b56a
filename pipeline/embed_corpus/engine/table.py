"""Run a StaticEmbedding module: look rows up and take their mean, without any layer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F  # noqa: N812  # its usual name

from embed_corpus.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.engine.packed import Packed
    from embed_corpus.model.static import Table

__all__ = ["TABLE_BUDGET", "TableRows", "load_table"]

TABLE_BUDGET = 65_536
"""Tokens of a batch: a table has no use for small ones."""


class _TableModel(torch.nn.Module):
    """What an encoder asks of a model."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.embedding = torch.nn.Parameter(rows, requires_grad=False)
        self.config = SimpleNamespace(
            model_type="static",
            vocab_size=len(rows),
            num_attention_heads=1,
            hidden_size=rows.shape[1],
            num_hidden_layers=0,
        )


def load_table(table: Table, device: torch.device) -> torch.nn.Module:
    """Load a table in fp32, model2vec's mapping and weights of tokens folded in.

    Raises:
        ModelError: it is unreadable, or its mapping points beyond it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = table.folder / "model.safetensors"
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}, a StaticEmbedding module's table, cannot be read: {error}") from error
    rows = tensors.get("embedding.weight", tensors.get("embeddings"))
    assert rows is not None  # `read_table` looked
    rows = rows.float()
    if (mapping := tensors.get("mapping")) is not None:
        if len(mapping) and not 0 <= int(mapping.min()) <= int(mapping.max()) < len(rows):
            raise ModelError(f"{file}: mapping names rows that embeddings does not have.")
        rows = rows[mapping.long()]
    if (weights := tensors.get("weights")) is not None:
        rows = rows * weights.float()[:, None]
    return _TableModel(rows.to(device))


class TableRows:
    """Each token's row; on a CPU their mean at once.

    A text's rows are added in their order, so that its bits do not depend on the texts around it.
    """

    name = "a table"

    def __init__(self, model: Any, table: Table) -> None:
        self._rows, self._unknown = model.embedding, table.unknown
        self.pools = model.embedding.device.type == "cpu"

    def layout(self, edges: NDArray[np.int32], n_tokens: int) -> dict[str, NDArray[np.int32]]:
        """Return the edges."""
        return {"edges": edges}

    def __call__(self, packed: Packed) -> torch.Tensor:
        """Return the means, [N, dim], or (on a GPU) the rows, [T, dim]."""
        if not self.pools:
            return F.embedding(packed.ids.long(), self._rows)
        edges = packed.chunk_edges.long()
        ids = packed.ids[: int(edges[-1])].long()
        if self._unknown is not None:
            known = ids != self._unknown
            edges = F.pad(known.cumsum(0), (1, 0))[edges]
            ids = ids[known]
        return F.embedding_bag(ids, self._rows, edges, mode="mean", include_last_offset=True)
