"""What a model's own files say about how it wants to be used; read without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import ModelError
from embed_corpus.model.adapter import Adapter, read_adapter
from embed_corpus.model.dense import Dense, behind_pooling, config_of
from embed_corpus.model.folder import read_json
from embed_corpus.model.folder_check import check_folder
from embed_corpus.model.limit import longest_text
from embed_corpus.model.modules import Module, kinds_of, read_modules
from embed_corpus.model.static import Table, is_model2vec, read_table

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["POOLINGS", "ModelFacts", "read_facts"]

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
        left_out: tokens at the beginning of each document's chunks that pooling leaves out.
        remote_code: the folder's own Python code may be run.
        adapter: what is added to the weights as they are loaded.
        table: of a StaticEmbedding module, which stands in the Transformer's place; `pooling` is "mean" then.
        queries: those of the modules that queries go through, where they are others (a Router's).
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
    queries: ModelFacts | None = None

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
        documents, queries = (read_modules(folder, task) for task in ("document", "query"))
        check_folder(folder, list(dict.fromkeys([*documents, *queries])))
        facts = _facts_of(folder, documents, asked, remote_code)
        if queries == documents:
            return facts
        other = _facts_of(folder, queries, asked, remote_code)
        if other.dim != facts.dim:
            raise ModelError(
                f"{folder / 'modules.json'}: its Router gives documents {facts.dim} dimensions and queries "
                f"{other.dim}: nothing compares them."
            )
        return replace(facts, queries=other)
    if is_model2vec(folder):
        check_folder(folder, [Module("model2vec", folder)])
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
    config = config_of(folder, transformer) if weights == transformer else read_json(weights, "config.json")
    if weights != transformer:
        check_folder(weights, [Module("Transformer", weights)])
    hidden = _hidden(config)
    pool = {} if pooler is None else config_of(folder, pooler)
    mode = _pooling_mode(folder, pool, asked)
    n_in = pool.get("embedding_dimension") or pool.get("word_embedding_dimension") or hidden
    if n_in is None:
        raise ModelError(f"{weights / 'config.json'} does not say how wide a token's state is (hidden_size).")
    if hidden not in (None, n_in):
        raise ModelError(
            f"{(pooler or folder) / 'config.json'} pools states of {n_in} numbers, but the model's have {hidden} "
            "(config.json): one of the two files is another model's."
        )
    dense, normalize = behind_pooling(folder, behind, int(n_in) * (mode.count("+") + 1))
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
    dense, normalize = behind_pooling(folder, behind, table.dim)
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


def _hidden(config: dict[str, Any]) -> int | None:
    return next((int(config[key]) for key in ("hidden_size", "d_model", "dim", "n_embd") if config.get(key)), None)
