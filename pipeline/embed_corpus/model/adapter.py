"""LoRA adapters in PEFT's format: what adapter_config.json says, read without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import ModelError, UsageError
from embed_corpus.model.folder import model_folder, read_json

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ADAPTER_FILES", "ADAPTER_KEYS", "Adapter", "read_adapter"]

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")

_NOTHING: tuple[Any, ...] = (None, False, "", [], {})
_INITS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Ways to begin training that leave the base weights alone. PiSSA, OLoRA, CorDA and others change them at each load."""
ADAPTER_KEYS: dict[str, tuple[str, str]] = {
    "peft_type": ("obeyed", "LORA; other kinds of adapters are refused"),
    "base_model_name_or_path": ("obeyed", "where config.json does not lie beside the adapter"),
    "revision": ("obeyed", "of the base model on the hub"),
    "r": ("obeyed", "rank"),
    "lora_alpha": ("obeyed", "scale x rank"),
    "rank_pattern": ("obeyed", "ranks of single modules"),
    "alpha_pattern": ("obeyed", "alphas of single modules"),
    "use_rslora": ("obeyed", "scale is alpha / sqrt(rank)"),
    "target_modules": ("obeyed", "names, a regular expression, or all-linear"),
    "exclude_modules": ("obeyed", "names or a regular expression"),
    "layers_to_transform": ("obeyed", "numbers of layers"),
    "layers_pattern": ("obeyed", "what stands before a layer's number"),
    "init_lora_weights": ("obeyed", "refused where it changes the base weights at each load (pissa, olora, corda, …)"),
    "fan_in_fan_out": ("harmless", "PEFT goes by the layer's class, too"),
    "lora_dropout": ("harmless", "in training only"),
    "inference_mode": ("harmless", "in training only"),
    "task_type": ("harmless", "a head's name; heads are refused as modules_to_save"),
    "auto_mapping": ("harmless", "the class that was trained"),
    "peft_version": ("harmless", "who wrote it"),
    "megatron_core": ("harmless", "without megatron_config"),
    "runtime_config": ("harmless", "speed"),
    "qalora_group_size": ("harmless", "without use_qalora"),
    "ensure_weight_tying": ("harmless", "of modules_to_save, which are refused"),
    "loftq_config": ("harmless", "in training only"),
    "eva_config": ("harmless", "in training only"),
    "corda_config": ("harmless", "in training only"),
    "lora_ga_config": ("harmless", "in training only"),
    "bias": ("refused", "unless none: trained biases"),
} | dict.fromkeys(
    (
        *("modules_to_save", "use_dora", "lora_bias", "use_qalora", "target_parameters", "trainable_token_indices"),
        *("layer_replication", "alora_invocation_tokens", "use_bdlora", "arrow_config", "kasa_config"),
        *("monteclora_config", "velora_config", "megatron_config"),
    ),
    ("refused", "unless it is not set: would change vectors in a way that is not built"),
)
"""Every key that PEFT 0.21 writes for LoRA: obeyed, harmless or refused, and why. Other keys are refused."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A plain LoRA adapter: W + scale x B A on some linear layers.

    Attributes:
        folder: holds its `ADAPTER_FILES`.
        rank, alpha: of modules that no pattern names.
        rank_of, alpha_of: those of modules whose name a regular expression matches, in order.
        by_root: scale is alpha / sqrt(rank), not alpha / rank.
        targets, left_out: names of modules, or their ends; or one regular expression; "all-linear" are all.
        layers: only modules of these layers, if any are given.
        before_layer: what stands before a layer's number in a module's name; none: anything.
    """

    folder: Path
    rank: int
    alpha: float
    rank_of: tuple[tuple[str, int], ...]
    alpha_of: tuple[tuple[str, float], ...]
    by_root: bool
    targets: str | tuple[str, ...]
    left_out: str | tuple[str, ...]
    layers: tuple[int, ...] = ()
    before_layer: tuple[str, ...] = ()

    def scale(self, module: str) -> tuple[int, float]:
        """Return the rank of a module's matrices and the factor before their product."""
        rank = _by_pattern(self.rank_of, module, self.rank)
        alpha = _by_pattern(self.alpha_of, module, self.alpha)
        return rank, alpha / (rank**0.5 if self.by_root else rank)

    def is_for(self, module: str) -> bool:
        """Tell whether a linear layer, by its name in the model, is one that the adapter changes."""
        if _named(self.left_out, module):
            return False
        if isinstance(self.targets, str):
            return self.targets.lower() == "all-linear" or _named(self.targets, module)
        return _named(self.targets, module) and (not self.layers or self._layer(module) in self.layers)

    def _layer(self, module: str) -> int | None:
        patterns = [rf"(?:^|.*?\.){name}\.(\d+)\." for name in self.before_layer] or [r".*?\.[^.]*\.(\d+)\."]
        found = next((match for pattern in patterns if (match := re.match(pattern, module))), None)
        return int(found[1]) if found else None


def _named(names: str | tuple[str, ...], module: str) -> bool:
    if isinstance(names, str):
        return bool(names) and re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)


def _by_pattern(patterns: tuple[tuple[str, Any], ...], module: str, default: Any) -> Any:
    return next((value for pattern, value in patterns if re.match(rf"(.*\.)?({pattern})$", module)), default)


def read_adapter(folder: Path, *, code: bool = False) -> tuple[Adapter | None, Path]:
    """Return the adapter that lies in a Transformer's folder, if any, and the folder of the base model's weights.

    Raises:
        ModelError: its files are missing or broken, or ask for something that is not supported, or the base is gone.
    """
    file = folder / ADAPTER_FILES[0]
    if not file.exists():
        if stray := sorted(folder.glob("adapter_model.*")):
            raise ModelError(f"{stray[0]} is an adapter's weights without {file.name}: add it, or delete both.")
        return None, folder
    config = read_json(folder, file.name)
    _check(config, file)
    if not (folder / ADAPTER_FILES[1]).exists():
        pickled = folder / "adapter_model.bin"
        why = f": {pickled.name} is a pickle, which is never loaded" if pickled.exists() else ""
        raise ModelError(f"{file} is a LoRA adapter's, but {folder} lacks its weights, {ADAPTER_FILES[1]}{why}.")
    return _adapter(folder, config, file), _base(folder, config, file, code=code)


def _check(config: dict[str, Any], file: Path) -> None:
    kind = str(config.get("peft_type", "(none)"))
    if kind != "LORA":
        raise ModelError(f"{file}: adapters of kind {kind} are not supported, only LORA. Merge it into the model.")
    for key, value in config.items():
        verdict = ADAPTER_KEYS.get(key, ("unknown", ""))[0]
        ok = {
            "init_lora_weights": value in _INITS,
            "bias": value in ("none", None),
        }.get(key, verdict in ("obeyed", "harmless") or value in _NOTHING)
        if not ok or (verdict == "unknown"):
            raise ModelError(
                f"{file}: {key} = {str(value)[:60]!r} is not supported. Merge the adapter into the model with PEFT "
                "(merge_and_unload) and save that."
            )


def _adapter(folder: Path, config: dict[str, Any], file: Path) -> Adapter:
    targets = config.get("target_modules")
    if not targets:
        raise ModelError(f"{file} names no target_modules: which layers the adapter is for.")
    layers = config.get("layers_to_transform"), config.get("layers_pattern")
    if isinstance(targets, str) and layers != (None, None):
        raise ModelError(f"{file}: layers_to_transform and layers_pattern go with a list of target_modules only.")
    if layers[1] and layers[0] is None:
        raise ModelError(f"{file}: layers_pattern goes with layers_to_transform only.")
    rank, ranks = int(config.get("r", 8)), config.get("rank_pattern") or {}
    if min(rank, *ranks.values(), rank) < 1:
        raise ModelError(f"{file}: a rank (r, rank_pattern) is below 1.")
    for pattern in _patterns(config):
        try:
            re.compile(pattern)
        except re.error as error:
            raise ModelError(f"{file}: {pattern!r} is no regular expression ({error}).") from error
    return Adapter(
        folder=folder,
        rank=rank,
        alpha=float(config.get("lora_alpha", 8)),
        rank_of=tuple((str(name), int(value)) for name, value in ranks.items()),
        alpha_of=tuple((str(name), float(value)) for name, value in (config.get("alpha_pattern") or {}).items()),
        by_root=bool(config.get("use_rslora")),
        targets=_names(targets),
        left_out=_names(config.get("exclude_modules") or ()),
        layers=_several(layers[0], int),
        before_layer=_several(layers[1] or None, str),
    )


def _patterns(config: dict[str, Any]) -> list[str]:
    several = [config.get("target_modules"), config.get("exclude_modules")]
    patterns = [value for value in several if isinstance(value, str)]
    patterns += [*(config.get("rank_pattern") or {}), *(config.get("alpha_pattern") or {})]
    return patterns + list(_several(config.get("layers_pattern") or None, str))


def _names(value: Any) -> str | tuple[str, ...]:
    return value if isinstance(value, str) else tuple(map(str, value))


def _several(value: Any, kind: Callable[[Any], Any]) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(map(kind, value)) if isinstance(value, list) else (kind(value),)


_SAME = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
"""Keys of config.json that two copies of one model may differ in."""


def _base(folder: Path, config: dict[str, Any], file: Path, *, code: bool) -> Path:
    """Return where the base model's config.json and weights lie: beside the adapter, or where it says."""
    named = config.get("base_model_name_or_path")
    if (folder / "config.json").exists():
        there = Path(str(named)).expanduser()
        if named and (there / "config.json").exists() and _told(there) != _told(folder):
            raise ModelError(
                f"{file} names {there} as its base model, whose config.json is another than {folder / 'config.json'}: "
                "sentence-transformers goes by the former. Delete the one that is not meant."
            )
        return folder
    if not named:
        raise ModelError(f"{file} names no base_model_name_or_path, and no config.json lies beside this adapter.")
    try:
        base = model_folder(str(named), config.get("revision"), code=code)
    except (ModelError, UsageError) as error:
        raise ModelError(f"{file} is an adapter's; its base model is gone: {error}") from error
    if not (base / "config.json").exists():
        raise ModelError(f"{file}: the adapter's base model {base} lacks config.json.")
    if (base / file.name).exists():
        raise ModelError(f"{file}: the adapter's base model {base} has an adapter of its own: merge that one first.")
    return base


def _told(folder: Path) -> dict[str, Any]:
    return {key: value for key, value in read_json(folder, "config.json").items() if key not in _SAME}
