"""The encoder: one embedding model on one device, eating packed batches."""

from __future__ import annotations

import inspect
import platform
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import normalize

from embed_corpus.engine.attention import register
from embed_corpus.engine.pooling import pool
from embed_corpus.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.data import Batch
    from embed_corpus.engine.facts import ModelFacts

__all__ = ["Encoder", "numerics"]

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class Encoder:
    """A model with its pooling and normalisation, loaded once on a device.

    Attributes:
        facts: what the model's files say.
    """

    def __init__(self, facts: ModelFacts, device: str, precision: str) -> None:
        """Load the weights.

        Raises:
            ModelError: weights missing or unreadable, or an architecture that cannot take
                packed batches.
        """
        self.facts = facts
        self._device = torch.device(device)
        self._model = _load(facts, _DTYPES[precision]).to(self._device).eval()
        self._position_offset = _position_offset(self._model)
        takes_cache = "use_cache" in inspect.signature(self._model.forward).parameters
        self._options: dict[str, Any] = {"use_cache": False} if takes_cache else {}

    @torch.inference_mode()
    def encode(self, batch: Batch) -> NDArray[np.float32]:
        """Embed a batch; float32[n_chunks, dim] in the batch's order, dummies left out."""
        ids = torch.from_numpy(batch.input_ids).to(self._device).long()[None]
        positions = torch.from_numpy(batch.position_ids).to(self._device).long()[None] + self._position_offset
        edges = torch.from_numpy(batch.cu_seqlens).to(self._device)
        hidden = self._model(
            input_ids=ids,
            position_ids=positions,
            cu_seq_lens_q=edges,
            cu_seq_lens_k=edges,
            max_length_q=batch.max_length,
            max_length_k=batch.max_length,
            **self._options,
        ).last_hidden_state[0]
        n_chunks, n_tokens = batch.n_chunks, int(batch.cu_seqlens[batch.n_chunks])
        vectors = pool(hidden[:n_tokens], edges[: n_chunks + 1].long(), self.facts.pooling)
        if self.facts.normalize:
            vectors = normalize(vectors, dim=1)
        return vectors.cpu().numpy()


def _load(facts: ModelFacts, dtype: torch.dtype) -> torch.nn.Module:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    name = register()
    try:
        config = transformers.AutoConfig.from_pretrained(facts.folder)
        kind = transformers.MODEL_MAPPING[type(config)]
        # A pooler's output on a packed batch would be that of the first text only.
        pooler = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
        model, report = kind.from_pretrained(
            facts.folder,
            config=config,
            dtype=dtype,
            attn_implementation=name,
            use_safetensors=True,
            output_loading_info=True,
            **({"add_pooling_layer": False} if pooler else {}),
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"model {facts.folder} cannot be loaded: {reason}") from error
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise ModelError(f"model {facts.folder}: broken safetensors file: {error}") from error
        raise
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"model {facts.folder} lacks {len(missing)} weights, e.g. {missing[0]}: random ones would stand in."
        )
    if not model.is_backend_compatible():
        raise ModelError(
            f"architecture {facts.family!r} computes its attention itself and cannot take packed batches: "
            "its vectors would be wrong. It is not supported yet."
        )
    module: torch.nn.Module = model
    return module


def _position_offset(model: torch.nn.Module) -> int:
    """Return the first position of a text: RoBERTa's family counts from padding_idx + 1."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        padding = getattr(module, "padding_idx", None)
        if isinstance(table, torch.nn.Embedding) and isinstance(padding, int):
            return padding + 1
    return 0


def numerics(device: str, token_budget: int) -> dict[str, str | int]:
    """Return everything that can change a vector's bits: for the run report and for `verify`."""
    import transformers

    cuda = device.startswith("cuda")
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cuda": str(torch.version.cuda) if cuda else "",
        "device": torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability(),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "attention": "sdpa per chunk",
        "token_budget": token_budget,
    }
