"""What a device can do, and what a pass over chunks asks of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from embed_corpus.engine.load import is_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Arithmetic", "matrix_rate"]


def matrix_rate(device: Any, dtype: Any = None, lasting: float = 1.0) -> float:
    """Return the FLOP/s of a large square matrix product, bf16 on a GPU and of type `dtype` on a CPU.

    It runs for a second, as a pass does: a card at its power limit slows down within that time.
    """
    cuda = device.type == "cuda"
    n = 8192 if cuda else 1024
    kind = torch.bfloat16 if cuda else dtype or torch.float32
    a, b = (torch.randn(n, n, device=device).to(kind) for _ in range(2))

    def products(times: int) -> float:
        begin = time.perf_counter()
        for _ in range(times):
            a @ b
        if cuda:
            torch.cuda.synchronize(device)
        return (time.perf_counter() - begin) / times

    products(3)
    each = products(max(1, int(lasting / products(3))))
    return float(2 * n**3 / each)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What a pass through a model costs.

    Attributes:
        n_parameters: weights outside the embedding tables.
        causal: a token sees none after it.
        config: the model's configuration.
    """

    n_parameters: int
    causal: bool
    config: Any

    @classmethod
    def of(cls, module: Any) -> Arithmetic:
        """Read it off a model of transformers."""
        # A decoder's configuration may make it see both ways (gte-Qwen2); its layers do not tell, then.
        told = getattr(module.config, "is_causal", None)
        causal = told is not False and any(getattr(each, "is_causal", False) for each in module.modules())
        n_parameters = sum(p.numel() for n, p in module.named_parameters() if not is_table(n))
        return cls(n_parameters, causal, module.config)

    def flops(self, lengths: NDArray[Any]) -> float:
        """Return the FLOPs of one pass over texts of these lengths.

        2 x non-embedding parameters a token, and 4 x layers x heads x head size a pair of tokens
        that see each other: n * n of them, under a causal mask half. These are the model's: what is
        spared (windows, the end of the last layer where pooling reads one token) is not counted off.
        """
        config = self.config
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        wide = np.asarray(lengths, np.float64)
        pairs = (wide**2).sum() * (0.5 if self.causal else 1.0)
        return float(2 * self.n_parameters * wide.sum() + 4 * config.num_hidden_layers * heads * size * pairs)
