"""What a device can do, and what a pass over chunks asks of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.engine.encoder import Encoder

__all__ = ["flops", "matrix_rate"]


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


def flops(encoder: Encoder, lengths: NDArray[Any]) -> float:
    """Return the FLOPs of one pass over chunks of these lengths.

    2 x non-embedding parameters a token, and 4 x layers x heads x head size a pair of tokens
    that see each other: n * n of them, under a causal mask half. These are the model's: what is
    spared (windows, the end of the last layer where pooling reads one token) is not counted off.
    """
    config = encoder.config
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    wide = np.asarray(lengths, np.float64)
    pairs = (wide**2).sum() * (0.5 if encoder.causal else 1.0)
    return float(2 * encoder.n_parameters * wide.sum() + 4 * config.num_hidden_layers * heads * size * pairs)
