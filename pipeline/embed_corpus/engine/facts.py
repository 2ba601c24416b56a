"""What a model's own files say about how it wants to be used; read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embed_corpus.engine.adapter import Adapter, read_adapter
from embed_corpus.engine.folder import read_json
from embed_corpus.engine.folder_check import check_folder
from embed_corpus.engine.limit import longest_text
from embed_corpus.engine.modules import Module, kinds_of, read_modules
from embed_corpus.engine.static import Table, is_model2vec, read_table
from embed_corpus.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ACTIVATIONS", "POOLINGS", "Dense", "ModelFacts", "read_facts"]

_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""In the order in which sentence-transformers lays the vectors of several side by side."""
POOLINGS = ("mean", "cls", "lasttoken", "weightedmean", "max", "mean_sqrt_len_tokens")
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


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """How a model's folder says it is to be run.

    Attributes:
        folder: the model's.
        transformer: the Transformer module's, with its tokenizer; mostly the same.
        weights: holds its config.json and weights: mostly the same, but an adapter may lie apart from its base.
        family: transformers' `model_type`.
        pooling: one of `POOLINGS`, or several joined by "+", whose vectors are laid side by side.
        include_prompt: pooling takes the prompt's tokens, too.
        dense: what turns pooled vectors into those that are (perhaps) normalised, in order.
        normalize: vectors are scaled to unit length.
        hidden: dimension of a token's state; None if only the loaded model tells.
        dim: dimension of a vector.
        max_tokens: longest text the model takes, special tokens included.
        prompts: the model's own, by name.
        document_prompt, query_prompt: put before every document and query.
        similarity: "cosine", "dot", …: how the authors compare vectors.
        left_out: tokens at the begin of each document's chunks that pooling leaves out.
        remote_code: the folder's own Python code may be run.
        adapter: what is added to the weights as they are loaded.
        table: of a StaticEmbedding module, which stands in the Transformer's place; `pooling` is "mean" then.
    """

    folder: Path
    transformer: Path
    weights: Path
    family: str
    pooling: str
    include_prompt: bool
    dense: tuple[Dense, ...]
    normalize: bool
    hidden: int | None
    dim: int
    max_tokens: int
    prompts: dict[str, str]
    document_prompt: str
    query_prompt: str
    similarity: str
    left_out: int = 0
    remote_code: bool = False
    adapter: Adapter | None = None
    table: Table | None = None

    @property
    def told(self) -> str:
        """The text of config.json; of a table its size."""
        return str(self.table) if self.table else (self.weights / "config.json").read_text(encoding="utf8")


def read_facts(folder: Path, pooling: str | None = None, *, remote_code: bool = False) -> ModelFacts:
    """Read a model folder: `modules.json`, then each module from its own path, and what is said about prompts.

    Args:
        folder: the model's.
        pooling: one of `POOLINGS`, for a folder whose files do not tell; its vectors are normalised.
        remote_code: whether its own Python code may be run.

    Raises:
        ModelError: a file is missing or broken, or asks for something that is not supported.
    """
    try:
        return _read_facts(folder, pooling, remote_code)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"model folder {folder}: a configuration file holds something odd ({type(error).__name__}: {error})."
        ) from error


def _read_facts(folder: Path, asked: str | None, remote_code: bool) -> ModelFacts:
    if (folder / "modules.json").exists():
        listed = read_modules(folder)
        check_folder(folder, listed)
        return _facts_of(folder, listed, asked, remote_code)
    if is_model2vec(folder):
        unit = [Module("Normalize", folder)] if read_json(folder, "config.json").get("normalize") else []
        return _static(folder, [Module("StaticEmbedding", folder), *unit], of_model2vec=True)
    if asked:
        check_folder(folder, [Module("Transformer", folder)])
        return _facts_of(folder, [Module(kind, folder) for kind in ("Transformer", "Normalize")], asked, remote_code)
    looked_for = "modules.json, then the Pooling module's config.json that it names (1_Pooling/config.json)"
    raise ModelError(
        f"model folder {folder} lacks {looked_for}: nothing says how a text's token states become its vector. "
        f"If its authors tell, say so with --pooling {{{','.join(POOLINGS)}}}; vectors are then normalised."
    )


def _facts_of(folder: Path, listed: list[Module], asked: str | None, remote_code: bool) -> ModelFacts:
    if listed and listed[0].kind == "StaticEmbedding":
        return _static(folder, listed)
    transformer, pooler, behind = _modules(folder, listed)
    adapter, weights = read_adapter(transformer, code=remote_code)
    config = _config_of(folder, transformer) if weights == transformer else read_json(weights, "config.json")
    if weights != transformer:
        check_folder(weights, [Module("Transformer", weights)])
    hidden = _hidden(config)
    pool = {} if pooler is None else _config_of(folder, pooler)
    mode = _pooling_mode(folder, pool, asked)
    n_in = pool.get("embedding_dimension") or pool.get("word_embedding_dimension") or hidden
    if n_in is None:
        raise ModelError(f"{weights / 'config.json'} does not say how wide a token's state is (hidden_size).")
    if hidden not in (None, n_in):
        raise ModelError(
            f"{(pooler or folder) / 'config.json'} pools states of {n_in} numbers, but the model's have {hidden} "
            "(config.json): one of the two files is another model's."
        )
    dense, normalize = _behind_pooling(folder, behind, int(n_in) * (mode.count("+") + 1))
    return ModelFacts(
        folder=folder,
        transformer=transformer,
        weights=weights,
        family=str(config.get("model_type", "unknown")),
        pooling=mode,
        include_prompt=bool(pool.get("include_prompt", True)),
        dense=dense,
        normalize=normalize,
        hidden=hidden,
        dim=dense[-1].n_out if dense else int(n_in) * (mode.count("+") + 1),
        max_tokens=longest_text(transformer, config),
        remote_code=remote_code,
        adapter=adapter,
        **_prompts(folder),
    )


def _static(folder: Path, listed: list[Module], *, of_model2vec: bool = False) -> ModelFacts:
    """Return the facts of a StaticEmbedding module and those behind it."""
    (first, *behind), kinds = listed, {module.kind for module in listed[1:]}
    if kinds & {"Transformer", "Pooling", "StaticEmbedding"}:
        raise ModelError(f"{folder / 'modules.json'} lists {kinds_of(listed)}: a StaticEmbedding goes without those.")
    table, limit = read_table(first.folder, of_model2vec=of_model2vec)
    dense, normalize = _behind_pooling(folder, behind, table.dim)
    return ModelFacts(
        folder=folder,
        transformer=first.folder,
        weights=first.folder,
        family="static",
        pooling="mean",
        include_prompt=True,
        dense=dense,
        normalize=normalize,
        hidden=table.dim,
        dim=dense[-1].n_out if dense else table.dim,
        max_tokens=limit,
        table=table,
        **_prompts(folder),
    )


def _prompts(folder: Path) -> dict[str, Any]:
    settings = read_json(folder, "config_sentence_transformers.json", default={})
    prompts = {str(k): str(v) for k, v in (settings.get("prompts") or {}).items() if v is not None}
    return {
        "prompts": prompts,
        "document_prompt": next((prompts[n] for n in _DOCUMENT_PROMPTS if n in prompts), ""),
        "query_prompt": prompts.get("query", ""),
        "similarity": str(settings.get("similarity_fn_name") or "cosine"),
    }


_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""The order in which sentence-transformers' `encode_document` looks; a name whose prompt is unset hides no other.

Neither it nor `encode_query` takes `default_prompt_name`: that is for texts that are neither.
"""


def _modules(folder: Path, listed: list[Module]) -> tuple[Path, Path | None, list[Module]]:
    """Return the Transformer's folder, the Pooling module's (None: it has no files), and the modules behind them."""
    file, kinds = folder / "modules.json", [module.kind for module in listed]
    if not file.exists():
        return listed[0].folder, None, listed[1:]
    if "Pooling" not in kinds:
        raise ModelError(f"{file} names no Pooling module.")
    if kinds[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling", "StaticEmbedding"} & set(kinds[2:]):
        raise ModelError(
            f"{file} lists {kinds_of(listed)}: supported is one Transformer, one Pooling, and what follows them."
        )
    return listed[0].folder, listed[1].folder, listed[2:]


def _config_of(folder: Path, module: Path) -> dict[str, Any]:
    config: dict[str, Any] = read_json(folder, (module / "config.json").relative_to(folder).as_posix())
    return config


def _pooling_mode(folder: Path, pooling: dict[str, Any], asked: str | None) -> str:
    named = pooling.get("pooling_mode")
    modes = [named] if isinstance(named, str) else list(named or [])
    modes = modes or [mode for key, mode in _LEGACY_POOLING.items() if pooling.get(key)]
    modes = modes or ([asked] if asked and not pooling else [])
    if not modes or set(modes) - set(POOLINGS):
        raise ModelError(
            f"{folder}: pooling {' + '.join(map(str, modes)) or '(none)'} is not supported. "
            f"Supported: {', '.join(POOLINGS)}."
        )
    mode = "+".join(modes)
    if asked not in (None, mode):
        raise ModelError(f"--pooling {asked}: the model's own files say {mode}. Drop --pooling.")
    return mode


def _behind_pooling(folder: Path, listed: list[Module], dim: int) -> tuple[tuple[Dense, ...], bool]:
    """Return the Dense modules, and whether the vectors behind the last are normalised."""
    dense: list[Dense] = []
    unit = False
    for module in listed:
        if module.kind == "Normalize":
            unit = True
        if module.kind != "Dense":  # Dropout does nothing but in training
            continue
        dense.append(_dense(module.folder, _config_of(folder, module.folder), unit))
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


def _hidden(config: dict[str, Any]) -> int | None:
    return next((int(config[key]) for key in ("hidden_size", "d_model", "dim", "n_embd") if config.get(key)), None)
