"""A batch on its way over a device: brought there, through layers, pooled, through heads, and brought back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from embed_corpus.engine import ops
from embed_corpus.engine.dense_layers import Heads
from embed_corpus.engine.packed import Packed
from embed_corpus.engine.pooling import pool
from embed_corpus.engine.positions import positions_of
from embed_corpus.engine.transfer import Sent, Streams, upload

if TYPE_CHECKING:
    from embed_corpus.data import Batch
    from embed_corpus.engine.forward import Forward
    from embed_corpus.model.facts import ModelFacts

__all__ = ["Runner"]


class Runner:
    """Turns batches into vectors on one device by whatever layers it is given; holds none of them itself.

    Attributes:
        facts: what the model's files say.
        device: where batches go.
        precision: of the layers: "fp32", "fp16", "bf16" or "fp8".
        longest: most tokens that a text of the job may have; a kernel's shape, and so a vector's last bits, may
            depend on it.
    """

    def __init__(self, facts: ModelFacts, device: torch.device, precision: str, longest: int, offset: int) -> None:
        """`offset` is the first position of a text, as the model counts them.

        Raises:
            ModelError: weights of the heads are missing or unreadable.
        """
        self.facts, self.device, self.precision, self.longest = facts, device, precision, longest
        self._offset = offset
        self._heads = Heads(facts, device)
        self._streams = Streams(device) if device.type == "cuda" else None

    def send(self, batch: Batch, forward: Forward) -> Sent:
        """Run a batch and set the copy of its vectors to the host going."""
        if self._streams is None:
            return Sent(self.run(batch, forward))
        return self._streams.send(lambda: self._upload(batch, forward), lambda packed: self._vectors(packed, forward))

    def run(self, batch: Batch, forward: Forward) -> torch.Tensor:
        """Embed a batch; float32[n, dim] on the device."""
        return self._vectors(self._upload(batch, forward), forward)

    def vectors_of(self, hidden: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Turn packed token states [T, H] into vectors, float32[N, dim]."""
        return self._finished(self.pooled(hidden, edges))

    def pooled(self, hidden: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Pool packed token states [T, H], float32[N, H x modes]; heads and normalisation are still to come."""
        return pool(hidden, edges, self.facts.pooling, self.facts.left_out)

    @torch.inference_mode()
    def _vectors(self, packed: Packed, forward: Forward) -> torch.Tensor:
        states = forward(packed)
        if forward.pools:
            return self._finished(states[: packed.n_texts].float())
        return self.vectors_of(states, packed.chunk_edges)

    def _finished(self, vectors: torch.Tensor) -> torch.Tensor:
        vectors = self._heads(vectors)
        vectors = vectors[:, : self.facts.dim].contiguous()  # fewer than the model's own with --dim
        return ops.unit_rows(vectors) if self.facts.normalize else vectors

    def _upload(self, batch: Batch, forward: Forward) -> Packed:
        arrays = {"ids": batch.input_ids, "positions": positions_of(batch, self._offset)}
        arrays |= forward.layout(batch.cu_seqlens, len(batch.input_ids))
        if batch.pooled is not None:
            arrays["pooled"] = batch.pooled
        longest = self.longest if self.device.type == "cuda" else batch.max_length
        parts: dict[str, Any] = upload(arrays, self.device)
        return Packed(max_length=longest, cu_seqlens=batch.cu_seqlens, **parts)
