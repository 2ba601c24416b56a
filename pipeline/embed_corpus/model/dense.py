"""The modules behind a model's first vectors, Dense and Normalize; read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import ModelError
from embed_corpus.model.folder import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from embed_corpus.model.modules import Module

__all__ = ["ACTIVATIONS", "Dense", "behind_pooling", "config_of"]

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
"""Classes of `torch.nn` that may follow a Dense module's product."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A Dense module: activation(x W^T + b) on pooled vectors.

    Attributes:
        folder: holds its model.safetensors.
        n_in, n_out: dimensions before and behind it.
        bias: it has one.
        activation: one of `ACTIVATIONS`.
        of_units: its input is scaled to unit length first.
    """

    folder: Path
    n_in: int
    n_out: int
    bias: bool
    activation: str
    of_units: bool


def config_of(folder: Path, module: Path) -> dict[str, Any]:
    """Read the config.json of one of a model's modules.

    Raises:
        ModelError: it is missing or broken.
    """
    config: dict[str, Any] = read_json(folder, (module / "config.json").relative_to(folder).as_posix())
    return config


def behind_pooling(folder: Path, listed: list[Module], dim: int) -> tuple[tuple[Dense, ...], bool]:
    """Return the Dense modules behind vectors of `dim` numbers, and whether those behind the last are normalised.

    Raises:
        ModelError: a module's configuration is missing, broken or not supported.
    """
    dense: list[Dense] = []
    unit = False
    for module in listed:
        if module.kind == "Normalize":
            unit = True
        if module.kind != "Dense":  # Dropout does nothing but in training
            continue
        dense.append(_dense(module.folder, config_of(folder, module.folder), unit))
        if dense[-1].n_in != dim:
            raise ModelError(
                f"{dense[-1].folder / 'config.json'} takes vectors of {dense[-1].n_in} numbers, "
                f"but the module before it gives {dim}."
            )
        dim, unit = dense[-1].n_out, False
    return tuple(dense), unit


def _dense(folder: Path, config: dict[str, Any], of_units: bool) -> Dense:
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = name.rsplit(".", 1)[-1]
    if not name.startswith("torch.nn.") or activation not in ACTIVATIONS:
        raise ModelError(
            f"{folder / 'config.json'}: activation {name} is not supported. "
            f"Supported, of torch.nn: {', '.join(ACTIVATIONS)}."
        )
    names = {config.get(key) or "sentence_embedding" for key in ("module_input_name", "module_output_name")}
    if config.get("use_residual") or names != {"sentence_embedding"}:
        raise ModelError(f"{folder / 'config.json'}: a residual, or other inputs than the vector, are not supported.")
    return Dense(
        folder, int(config["in_features"]), int(config["out_features"]), config.get("bias", True), activation, of_units
    )
