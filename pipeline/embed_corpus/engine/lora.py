"""Put a LoRA adapter into a model's weights: W + scale x B A, in fp32."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from embed_corpus.errors import ModelError
from embed_corpus.model.adapter import ADAPTER_FILES

if TYPE_CHECKING:
    from torch import Tensor

    from embed_corpus.model.adapter import Adapter

__all__ = ["merge"]

_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


@torch.no_grad()
def merge(model: Any, adapter: Adapter) -> None:
    """Add an adapter to the weights of a model of transformers, which are fp32 and on the CPU.

    Raises:
        ModelError: its tensors are not those of the layers that its configuration names, or no finite numbers.
    """
    import transformers

    file = adapter.folder / ADAPTER_FILES[1]
    modules = dict(model.named_modules())
    linear = (torch.nn.Linear, transformers.pytorch_utils.Conv1D)
    everywhere = isinstance(adapter.targets, str) and adapter.targets.lower() == "all-linear"
    wanted = {
        name
        for name, module in modules.items()
        if name and adapter.is_for(name) and (type(module) in linear or not everywhere)
    }
    if odd := sorted(name for name in wanted if type(modules[name]) not in linear):
        raise ModelError(
            f"{adapter.folder / ADAPTER_FILES[0]}: the adapter is for {odd[0]}, a {type(modules[odd[0]]).__name__}; "
            "only linear layers are supported. Merge it into the model with PEFT (merge_and_unload) and save that."
        )
    found = {name: pair for name, pair in _pairs(adapter, model, modules).items() if not _of_a_pooler(name, modules)}
    if not wanted or found.keys() != wanted:
        name = min(found.keys() ^ wanted, default="")
        what = "holds tensors for" if name in found else "lacks tensors for"
        raise ModelError(
            f"{file} {what} {name}, {'not ' if name in found else ''}one of the layers that {ADAPTER_FILES[0]} names."
            if name
            else f"{adapter.folder / ADAPTER_FILES[0]}: its target_modules are no layers of this model."
        )
    for name, (a, b) in found.items():
        weight = modules[name].weight
        flipped = type(modules[name]) is not torch.nn.Linear  # Conv1D keeps its weight as [in, out]
        n_out, n_in = reversed(weight.shape) if flipped else weight.shape
        rank, scale = adapter.scale(name)
        if (tuple(a.shape), tuple(b.shape)) != ((rank, n_in), (n_out, rank)):
            raise ModelError(
                f"{file}: the matrices for {name} have shapes {tuple(a.shape)} and {tuple(b.shape)}; "
                f"{ADAPTER_FILES[0]} and the model ask for {(rank, n_in)} and {(n_out, rank)}."
            )
        change = scale * (b.float() @ a.float())
        weight += change.T if flipped else change


def _pairs(adapter: Adapter, model: Any, modules: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """Read the matrices A and B of each layer, by its name in the model."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = adapter.folder / ADAPTER_FILES[1]
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}, the adapter's weights, cannot be read: {error}") from error
    sides: dict[str, dict[str, Tensor]] = {"A": {}, "B": {}}
    for key, tensor in tensors.items():
        match = _NAME.fullmatch(key)
        if not match:
            raise ModelError(
                f"{file} holds {key}, no matrix of a LoRA adapter on linear layers: not supported. "
                "Merge it into the model with PEFT (merge_and_unload) and save that."
            )
        if not tensor.isfinite().all():
            raise ModelError(f"{file}: {key} holds numbers that are not finite.")
        name = match[1]
        if name not in modules:  # trained with a head on top, as in Qwen3ForCausalLM
            name = name.removeprefix(f"{model.base_model_prefix}.")
        sides[match[2]][name] = tensor
    if alone := sorted(sides["A"].keys() ^ sides["B"].keys()):
        raise ModelError(f"{file} lacks one of the two matrices for {alone[0]}.")
    return {name: (a, sides["B"][name]) for name, a in sides["A"].items()}


def _of_a_pooler(name: str, modules: dict[str, Any]) -> bool:
    """Tell whether a layer is of the pooler that is left out because nothing reads it."""
    return name.startswith("pooler.") and "pooler" not in modules
