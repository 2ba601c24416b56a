"""Before the first batch: do packed texts get the vectors that the plain padded model gives them?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import cosine_similarity

from embed_corpus.engine.attention import counted_calls
from embed_corpus.engine.forward import ModelLayers
from embed_corpus.engine.padded import run_padded, stock_attention
from embed_corpus.errors import ModelError
from embed_corpus.feed.packing import MIN_TOKENS, make_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from embed_corpus.engine.encoder import LocalEncoder
    from embed_corpus.engine.loaded import LoadedModel

__all__ = ["SelfTest", "probe", "self_test"]

_COSINE = {"fp32": 0.99999, "fp16": 0.9999, "bf16": 0.999, "fp8": 0.9}
"""Least cosine to the padded model in the same precision; fp8 is judged on the user's own texts too."""


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What the test saw.

    Attributes:
        problem: why the path must not be used; empty if it may.
        exact: a text's vector has the same bits first, last and alone in its batch.
        cosine: least cosine to the padded model.
    """

    problem: str
    exact: bool
    cosine: float


def self_test(model: LoadedModel, encoder: LocalEncoder, shape: int = MIN_TOKENS) -> SelfTest:
    """Embed [A, B, A], A alone and both padded; `shape` is the tokens of a batch.

    It catches texts that see each other, wrong positions, a window that is ignored, layers that
    never call our attention, and models that want more of it than it has (soft caps, sinks).

    Raises:
        ModelError: the device is too small even for this.
    """
    module = model.module
    if not module.is_backend_compatible():
        return SelfTest(f"architecture {module.config.model_type!r} computes its attention itself", False, 0.0)
    try:
        return _compare(model, encoder, shape)
    except torch.OutOfMemoryError as error:
        device, longest = model.runner.device, model.runner.longest
        raise ModelError(
            f"{device} has too little memory for one chunk of {longest} tokens beside the model: "
            "use shorter --chunk-tokens, or --precision fp16."
        ) from error
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, the plain padded model is still there
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        return SelfTest(f"it fails on packed texts ({type(error).__name__}: {reason[:200]})", False, 0.0)


def _compare(model: LoadedModel, encoder: LocalEncoder, shape: int) -> SelfTest:
    a, b = _texts(model)
    if isinstance(encoder.forward, ModelLayers) and (missing := _layers_without_attention(model, a)):
        return SelfTest(missing, exact=False, cosine=0.0)
    among = encoder.encode(_batch([a, b, a], shape))
    alone = encoder.encode(_batch([a], shape))
    exact = bool((among[0] == among[2]).all() and (among[0] == alone[0]).all())
    vectors, expected = torch.from_numpy(among[:2]), _padded(model, [a, b])
    cosine = float(cosine_similarity(vectors, expected, dim=1).min())
    least = _COSINE[model.runner.precision]
    problem = "" if cosine >= least else f"cosine {cosine:.5f} to the padded model, {least} is the least allowed"
    return SelfTest(problem, exact, cosine)


def probe(model: LoadedModel, encoder: LocalEncoder, shape: int) -> NDArray[np.float32]:
    """Embed the first test text alone in a batch of `shape` tokens; float32[dim]."""
    vectors: NDArray[np.float32] = encoder.encode(_batch(_texts(model)[:1], shape))
    first: NDArray[np.float32] = vectors[0]
    return first


def _texts(model: LoadedModel) -> list[NDArray[np.int32]]:
    """Make two texts of random ordinary tokens, the first longer than a sliding window if that is short."""
    config = model.module.config
    window = getattr(config, "sliding_window", None) or 0
    special = {v for k, v in config.to_dict().items() if k.endswith("_token_id") and isinstance(v, int)}
    ordinary = np.setdiff1d(np.arange(min(config.vocab_size, 30_000)), list(special)).astype(np.int32)
    dice = np.random.default_rng(0)
    longest = model.runner.longest
    lengths = min(longest, max(150, window + 33 if window < 1024 else 0)), min(longest, 77)
    return [dice.choice(ordinary, n) for n in lengths]


def _batch(texts: list[NDArray[np.int32]], shape: int) -> Any:
    return make_batch(np.concatenate(texts), np.array([len(t) for t in texts], np.int32), shape)


@torch.inference_mode()
def _padded(model: LoadedModel, texts: list[NDArray[np.int32]]) -> torch.Tensor:
    """Embed texts with the plain padded model, on its device; float32[n, dim] on the host."""
    module, device = model.module, model.runner.device
    lengths = torch.tensor([len(text) for text in texts])
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).to(device)
    ids = torch.full(mask.shape, int(getattr(module.config, "pad_token_id", None) or 0), device=device)
    ids[mask] = torch.from_numpy(np.concatenate(texts)).long().to(device)
    with stock_attention(module):
        hidden = run_padded(module, ids, mask)[mask]
    edges = torch.tensor([0, *lengths.cumsum(0)], dtype=torch.int32, device=device)
    return model.runner.vectors_of(hidden, edges).float().cpu()


def _layers_without_attention(model: LoadedModel, text: NDArray[np.int32]) -> str:
    """Say how many layers did not call our attention, if any; runs them eagerly once."""
    plain = ModelLayers(model.module, None)
    with counted_calls(model.module) as calls, torch.compiler.set_stance("force_eager"):
        model.runner.run(_batch([text], MIN_TOKENS), plain)
    n_layers = model.module.config.num_hidden_layers
    return "" if len(calls) == n_layers else f"only {len(calls)} of {n_layers} layers use the attention they are given"
