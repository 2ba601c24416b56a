"""The encoder: one embedding model on one device, eating packed batches."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from embed_corpus import __version__
from embed_corpus.engine import ops
from embed_corpus.engine.dense_layers import Heads
from embed_corpus.engine.forward import Forward, make_forward
from embed_corpus.engine.load import DTYPES, is_table, load_model, position_offset
from embed_corpus.engine.packed import Packed
from embed_corpus.engine.padded import PADDED_WINDOW, PaddedLayers
from embed_corpus.engine.pooling import pool
from embed_corpus.engine.positions import positions_of
from embed_corpus.engine.table import TableRows
from embed_corpus.engine.transfer import STEPS, Sent, Streams, upload
from embed_corpus.errors import ModelError
from embed_corpus.feed.packing import MIN_TOKENS, Packer, alone, split_batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from embed_corpus.data import Batch
    from embed_corpus.engine.calibrate import Calibration
    from embed_corpus.model.facts import ModelFacts

__all__ = ["Encoder", "Pending", "numerics"]

log = logging.getLogger("embed_corpus")

_CHANGE_PAUSE = 600.0
"""Seconds between two lasting changes of the token budget: what is short of memory may be someone else."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Vectors of a batch on their way from the device.

    Attributes:
        pieces: what was sent, in order: more than one if the batch had to be split.
        finish: what is still to be done to the joined vectors; it is told the GPU's seconds by step.
    """

    pieces: list[Sent]
    finish: Callable[[NDArray[np.float32], list[float]], NDArray[np.float32]]

    def result(self) -> NDArray[np.float32]:
        """Wait for the vectors, float32[n_chunks, dim]."""
        vectors, seconds = zip(*(piece.wait() for piece in self.pieces), strict=True)
        joined = vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
        return self.finish(joined, [sum(step) for step in zip(*seconds, strict=True)])


class Encoder:
    """A model with its pooling and normalisation, loaded once on a device.

    Attributes:
        facts: what the model's files say.
        device: where it runs.
        precision: "fp32", "fp16", "bf16" or "fp8".
        longest: most tokens that a text of the job may have.
        model: transformers' model; None after `release`.
        config: its configuration.
        causal: a token sees none after it.
        n_parameters: weights outside the embedding tables.
        forward: the way its layers run.
        padded: that is the padded path.
        token_budget: tokens of a batch that fit; lowered when memory runs out.
        measured: the token budget was measured, not asked for.
        calibration: what was measured with it.
        redone: texts whose vectors were not finite and were computed again in fp32.
        seconds: the GPU's, by step, for batches whose vectors were taken since `release`; zeros on a CPU.
    """

    def __init__(
        self,
        facts: ModelFacts,
        device: str,
        precision: str,
        longest: int | None = None,
        *,
        token_budget: int = 1024,
        compiled: bool = True,
        model: Any = None,
    ) -> None:
        """Load the weights, unless a `model` is handed over that lies on the device already.

        A kernel's shape, and so a vector's last bits, may depend on `longest` (None: the model's limit).

        Raises:
            ModelError: weights missing or unreadable, or fp8 on a model or device that has none.
        """
        self.facts = facts
        self.device = torch.device(device)
        if self.device.type == "cuda":
            self.device = torch.device("cuda", self.device.index or 0)
            torch.cuda.set_device(self.device)  # where Triton launches
        self.precision = precision
        self.longest = longest or facts.max_tokens
        self.token_budget = max(token_budget, self.longest)
        self.measured = False
        self.calibration: Calibration | None = None
        self.redone = 0
        self.seconds = dict.fromkeys(STEPS, 0.0)
        self.model: Any = load_model(facts, DTYPES[precision], self.device) if model is None else model
        self._offset = position_offset(self.model)
        self.config: Any = self.model.config
        # A decoder's configuration may make it see both ways (gte-Qwen2); its layers do not tell, then.
        told = getattr(self.config, "is_causal", None)
        self.causal = told is not False and any(getattr(module, "is_causal", False) for module in self.model.modules())
        self.n_parameters = sum(p.numel() for n, p in self.model.named_parameters() if not is_table(n))
        self.forward: Forward = self._forward(compiled=compiled)
        self._heads = Heads(facts, self.device)
        self.padded = False
        self._streams = Streams(self.device) if self.device.type == "cuda" else None
        self._wide: Encoder | None = None
        self._changes: list[float] = []

    def _forward(self, *, compiled: bool) -> Forward:
        if self.facts.table:
            return TableRows(self.model, self.facts.table)
        not_the_first = self.facts.pooling == "cls" and self.facts.left_out
        pooling = "" if not_the_first else self.facts.pooling
        return make_forward(self.model, self.precision, self.device, self.longest, pooling=pooling, compiled=compiled)

    def use_padded(self) -> None:
        """Take the padded path from now on.

        Raises:
            ModelError: the precision is fp8, which only packed layers have.
        """
        if self.precision == "fp8":
            raise ModelError("fp8 needs the packed path, which this model cannot take: use --precision auto.")
        self.padded = True
        self.forward = PaddedLayers(self.model, self.longest, self.token_budget, self._pooled)

    def release(self) -> None:
        """Let go of what only the self-test needed, and forget the time it took."""
        self.model = None
        self.seconds = dict.fromkeys(STEPS, 0.0)

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch as the encoder wants it now; the padded path sorts many passes' worth."""
        return self.token_budget * (PADDED_WINDOW if self.padded else 1)

    def packer(self) -> Packer:
        """Return a packer that makes such batches; on a GPU all of one shape."""
        return Packer(self.batch_tokens, static=self.device.type == "cuda" and not self.padded)

    def encode(self, batch: Batch) -> NDArray[np.float32]:
        """Embed a batch and wait for it; float32[n_chunks, dim] in the batch's order."""
        return self.submit(batch).result()

    def submit(self, batch: Batch) -> Pending:
        """Set a batch going; on a GPU this returns before the vectors are there.

        A vector that is not finite is computed again in fp32, from its text alone; if that does
        not help it stays as it is.

        Raises:
            ModelError: the device's memory cannot hold even the longest text.
        """

        def finish(vectors: NDArray[np.float32], seconds: list[float]) -> NDArray[np.float32]:
            for step, more in zip(STEPS, seconds, strict=True):
                self.seconds[step] += more
            return self._mend(batch, vectors)

        return Pending(self._send(batch), finish)

    def _send(self, batch: Batch) -> list[Sent]:
        # Each try ends before the next begins: a caught error keeps the tensors of its frames alive.
        for _ in range(2):
            try:
                return [self._through(batch)]
            except torch.OutOfMemoryError:
                pass
            torch.cuda.empty_cache()
        if isinstance(self.forward, PaddedLayers) and self.forward.halve():
            log.warning("%s: out of memory, going on with half as many texts at a time", self.device)
            return self._send(batch)
        # Not below the longest text of the job, whatever this batch holds: few rows may add up in another order.
        half = max(len(batch.input_ids) // 2, self.longest, MIN_TOKENS)
        if half >= len(batch.input_ids) or self.padded:
            raise ModelError(
                f"{self.device} is out of memory even with batches of {len(batch.input_ids)} tokens: "
                "use shorter --chunk-tokens, or --precision fp16, or free the device."
            )
        self._shrink(half)
        return [piece for part in split_batch(batch, half) for piece in self._send(part)]

    def _shrink(self, budget: int) -> None:
        now = time.monotonic()
        if budget >= self.token_budget or (self._changes and now - self._changes[-1] < _CHANGE_PAUSE):
            return
        log.warning("%s: out of memory, going on with batches of %d tokens", self.device, budget)
        self.token_budget = max(budget, self.longest)
        self._changes.append(now)
        if len(self._changes) >= 2 and self.measured:
            from embed_corpus.engine.calibrate import remember

            remember(self, self.token_budget)

    def run(self, batch: Batch, forward: Forward) -> torch.Tensor:
        """Embed a batch by some way; float32[n_chunks, dim] on the device."""
        return self._vectors(self._upload(batch, forward), forward)

    @torch.inference_mode()
    def _vectors(self, packed: Packed, forward: Forward) -> torch.Tensor:
        states = forward(packed)
        if forward.pools:
            return self._finished(states[: packed.n_texts].float())
        return self.pool(states, packed.chunk_edges)

    def pool(self, hidden: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Turn packed token states [T, H] into vectors, float32[N, dim]."""
        return self._finished(self._pooled(hidden, edges))

    def _pooled(self, hidden: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        return pool(hidden, edges, self.facts.pooling, self.facts.left_out)

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

    def _through(self, batch: Batch) -> Sent:
        """Run a batch and set the copy of its vectors to the host going."""
        if self._streams is None:
            return Sent(self.run(batch, self.forward))
        return self._streams.send(
            lambda: self._upload(batch, self.forward), lambda packed: self._vectors(packed, self.forward)
        )

    def _mend(self, batch: Batch, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the vectors that are not finite again, each from its text alone, in fp32."""
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if not len(bad) or self.precision == "fp32":
            return vectors
        if self._wide is None:
            # On the CPU, whatever the device: it is rare, and takes no memory that batches were measured without.
            self._wide = Encoder(self.facts, "cpu", "fp32", self.longest)
            if self.padded:
                self._wide.use_padded()
        vectors = vectors.copy()
        for text, there, here in alone(batch, bad):
            vectors[here] = self._wide.encode(text)[there]
        self.redone += len(bad)
        return vectors


def numerics(encoder: Encoder) -> dict[str, Any]:
    """Return everything that can change a vector's bits: for the run report and for `verify`.

    The token budget is told beside them (`Encoder.token_budget`): bits do not depend on it.
    """
    cuda = encoder.device.type == "cuda"
    device = torch.cuda.get_device_name(encoder.device) if cuda else torch.backends.cpu.get_cpu_capability()
    names = ("torch", "transformers", "triton") if cuda else ("torch", "transformers")
    return {
        "embed-corpus": __version__,
        **{name: _version(name) for name in names},
        "cuda": str(torch.version.cuda) if cuda else "",
        "device": device,
        "machine": platform.machine(),
        "threads": 0 if cuda else torch.get_num_threads(),
        "layers": encoder.forward.name,
        "kernels": ops.has_kernels(encoder.device),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
