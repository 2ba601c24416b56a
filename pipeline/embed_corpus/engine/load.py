"""Load a transformers model for packed batches."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Any

import torch

from embed_corpus.engine.attention import register
from embed_corpus.engine.families import family_of
from embed_corpus.engine.lora import merge
from embed_corpus.engine.table import load_table
from embed_corpus.errors import ModelError
from embed_corpus.model.folder import read_json

if TYPE_CHECKING:
    from embed_corpus.model.facts import ModelFacts

__all__ = ["DTYPES", "is_table", "load_model", "position_offset", "table_rows"]

log = logging.getLogger("embed_corpus")

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "fp8": torch.bfloat16}
"""Precision → type of the weights as they are loaded."""


def load_model(facts: ModelFacts, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    """Load a model's weights, an adapter's among them, its attention set to ours, without a pooler or head.

    Raises:
        ModelError: weights missing, unreadable or not finite, code that may not be run, or more than the device holds.
    """
    if facts.table:
        return load_table(facts.table, device)
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        runs_code = _runs_code(facts)
        config = transformers.AutoConfig.from_pretrained(facts.weights, trust_remote_code=runs_code)
        kind = _kind_of(config)
        model, report = kind.from_pretrained(
            **_where(facts),
            config=config,
            dtype=torch.float32 if facts.adapter else dtype,
            use_safetensors=True,
            output_loading_info=True,
            **({"trust_remote_code": runs_code} if kind is transformers.AutoModel else _options(kind)),
        )
    except Exception as error:
        if told := _told(error, facts):
            raise told from error
        raise
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"model {facts.weights} lacks {len(missing)} weights, e.g. {missing[0]}: random ones would stand in."
        )
    width = getattr(config, "hidden_size", None)
    if facts.hidden is not None and width not in (None, facts.hidden):
        raise ModelError(f"model {facts.weights} has token states of {width} numbers, not as config.json says.")
    _check_causal(model, config, facts)
    if facts.adapter:
        merge(model, facts.adapter)
        model = model.to(dtype)
    try:
        module: torch.nn.Module = model.to(device).eval().requires_grad_(False)
    except torch.OutOfMemoryError as error:
        raise ModelError(f"{device} has too little memory for the model's weights in {dtype}: {error}") from error
    _check_finite(module, facts)
    return module


def _check_causal(model: torch.nn.Module, config: Any, facts: ModelFacts) -> None:
    """Refuse `is_causal` in the file of a model whose layers are not: transformers then hides the tokens behind one.

    But only in batches without padding, and not with every attention: the model's vectors are not settled.
    """
    told = getattr(config, "is_causal", None)
    if told and not facts.remote_code and not any(getattr(module, "is_causal", False) for module in model.modules()):
        raise ModelError(
            f"{facts.weights / 'config.json'}: is_causal = {told!r}, but the layers of {facts.family} are not: whether "
            "a token would see those behind it would depend on the other texts of a batch. Take it out."
        )


def _told(error: Exception, facts: ModelFacts) -> ModelError | None:
    """Return what a user is told if transformers cannot load a model; None: the error is of no known kind."""
    if isinstance(error, OSError | ValueError | KeyError | RuntimeError | ImportError | AttributeError | TypeError):
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return ModelError(f"model {facts.weights} cannot be loaded: {reason}")
    if type(error).__module__.startswith("safetensors"):
        return ModelError(f"model {facts.weights}: broken safetensors file: {error}")
    if type(error).__module__.startswith("huggingface_hub"):  # a value of the wrong type in config.json
        return ModelError(f"{facts.weights / 'config.json'}: {' '.join(str(error).split())[:300]}")
    return None


def table_rows(facts: ModelFacts) -> int:
    """Return how many tokens a model's embedding table has rows for, without its weights.

    Raises:
        ModelError: no such model can be made, or code that may not be run.
    """
    import transformers

    runs_code = _runs_code(facts)
    try:
        config = transformers.AutoConfig.from_pretrained(facts.weights, trust_remote_code=runs_code)
        kind = _kind_of(config)
        with torch.device("meta"):
            stock = kind is not transformers.AutoModel
            model = kind(config) if stock else kind.from_config(config, trust_remote_code=runs_code)
    except Exception as error:
        if told := _told(error, facts):
            raise told from error
        raise
    return int(model.get_input_embeddings().weight.shape[0])


def _where(facts: ModelFacts) -> dict[str, Any]:
    """Return what transformers is told of where the weights lie.

    From a folder that holds an adapter it would load that, too, where PEFT is installed; so it gets the tensors.
    """
    if not facts.adapter or facts.weights != facts.adapter.folder:
        return {"pretrained_model_name_or_path": facts.weights}
    from safetensors.torch import load_file

    files = {"model.safetensors"}
    if not (facts.weights / "model.safetensors").exists():
        files = set(read_json(facts.weights, "model.safetensors.index.json")["weight_map"].values())
    tensors = {name: tensor for file in files for name, tensor in load_file(facts.weights / file).items()}
    return {"pretrained_model_name_or_path": None, "state_dict": tensors}


def _runs_code(facts: ModelFacts) -> bool:
    """Tell whether transformers has to run the folder's own code, which it may only if that was allowed.

    Raises:
        ModelError: it was not, or the code lies in another repository, whose state nothing pins.
    """
    import transformers

    config = read_json(facts.weights, "config.json")
    elsewhere = sorted({str(name) for name in (config.get("auto_map") or {}).values() if "--" in str(name)})
    known = facts.family in transformers.CONFIG_MAPPING
    if known or not config.get("auto_map"):
        if known and config.get("auto_map") and facts.remote_code:
            log.warning("%s: transformers knows %r; the model's own code is not run", facts.weights, facts.family)
        return False
    if not facts.remote_code:
        raise ModelError(
            f"architecture {facts.family!r} is not one of transformers': {facts.weights} brings Python code of its "
            "own. Read it, then allow it with --trust-remote-code (a hub model: and --revision, the commit you read)."
        )
    if elsewhere:
        raise ModelError(
            f"{facts.weights / 'config.json'} takes code from another repository ({elsewhere[0]}), whose state "
            "nothing pins: put that code beside the model, and drop what stands before '--' in auto_map."
        )
    return True


def _kind_of(config: Any) -> Any:
    """Return the class of a configuration's model."""
    import transformers

    if name := family_of(config.model_type).encoder_halves.get(config.model_type):
        return getattr(transformers, name)
    kind = transformers.MODEL_MAPPING.get(type(config), transformers.AutoModel)
    return kind[0] if isinstance(kind, tuple) else kind  # Funnel has two


def _check_finite(model: torch.nn.Module, facts: ModelFacts) -> None:
    """Refuse weights that are NaN or infinite, as they are here: fp16 ends at 65,504.

    A bad row of an embedding table spoils only the texts that hold its token, so it is left to them.
    """
    for name, weight in model.named_parameters():
        if is_table(name):
            continue
        low, high = weight.aminmax()
        if not (low.isfinite() and high.isfinite()):
            raise ModelError(
                f"model {facts.weights}: {name} holds numbers that are not finite in {str(weight.dtype)[6:]}. "
                "If they are finite in the file, use --precision fp32 or bf16."
            )


def is_table(name: str) -> bool:
    """Tell whether a weight, by its name, is part of the embeddings: looked up, not multiplied with."""
    return "embed" in name or name == "shared.weight"  # the latter is T5's


def _options(kind: Any) -> dict[str, Any]:
    """Ask for our attention, where a model looks attention up by name, and for no pooler.

    A pooler's output on a packed batch would be that of the first text only.
    """
    options: dict[str, Any] = {"attn_implementation": register()} if kind._supports_attention_backend else {}  # noqa: SLF001
    if "add_pooling_layer" in inspect.signature(kind.__init__).parameters:
        options["add_pooling_layer"] = False
    return options


def position_offset(model: torch.nn.Module) -> int:
    """Return the first position of a text: RoBERTa's family counts from padding_idx + 1."""
    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        padding = getattr(module, "padding_idx", None)
        if isinstance(table, torch.nn.Embedding) and isinstance(padding, int):
            return padding + 1
    return 0
