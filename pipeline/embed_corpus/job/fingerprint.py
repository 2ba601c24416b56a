"""The hashes that say which vectors belong together (`space`) and which parts (`job`)."""

from __future__ import annotations

import hashlib
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from embed_corpus.chunk.rules import file_rules
from embed_corpus.errors import ModelError
from embed_corpus.job.record import JobRecord, SpaceRecord
from embed_corpus.model.adapter import ADAPTER_FILES
from embed_corpus.model.folder import read_json
from embed_corpus.sink.parts import SCHEMA_VERSION
from embed_corpus.store.cache import cache_folder, keep

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from embed_corpus.chunk.recipe import ChunkRecipe
    from embed_corpus.job.config import JobConfig
    from embed_corpus.model.facts import ModelFacts

__all__ = ["job_record", "space_record", "weight_files"]

_SETTLED_NS = 2_000_000_000
"""A file that changed later than so long ago is hashed again the next time."""


def weight_files(facts: ModelFacts) -> list[Path]:
    """List a model's weights, sorted by name.

    Raises:
        ModelError: the folder holds no safetensors weights, or no tokenizer.json.
    """
    folder = facts.weights
    weights = sorted(file for file in folder.glob("*.safetensors") if file.name not in ADAPTER_FILES)
    if not weights:
        pickles = sorted(folder.glob("*.bin"))
        why = f" ({pickles[0].name} is a pickle, which is never loaded)" if pickles else ""
        raise ModelError(f"model folder {folder} holds no *.safetensors{why}: save the model as safetensors.")
    listed = read_json(folder, "model.safetensors.index.json", default={}).get("weight_map", {}).values()
    if gone := sorted(set(map(str, listed)) - {file.name for file in weights}):
        raise ModelError(f"model folder {folder} lacks {gone[0]}, one of {len(set(listed))} files of weights.")
    if not (facts.transformer / "tokenizer.json").exists():
        raise ModelError(
            f"model folder {facts.transformer} lacks tokenizer.json: save its tokenizer as a fast one "
            "(AutoTokenizer.from_pretrained(…).save_pretrained(…))."
        )
    for dense in facts.dense:
        if not (dense.folder / "model.safetensors").exists():
            raise ModelError(f"{dense.folder} lacks model.safetensors, the Dense module's weights.")
    return weights


def space_record(facts: ModelFacts) -> SpaceRecord:
    """Return what decides whether vectors may be searched together; hashes every model file once.

    Raises:
        ModelError: the folder holds no safetensors weights, or no tokenizer.json.
    """
    weights = weight_files(facts)
    return SpaceRecord(
        config=None if facts.table else _file_hash(facts.weights / "config.json"),
        weights={file.name: _file_hash(file) for file in weights},
        tokenizer=_file_hash(facts.transformer / "tokenizer.json"),
        prompt=facts.document_prompt,
        pooling=facts.pooling,
        dim=facts.dim,
        normalize=facts.normalize,
        **_what_few_have(facts),
    )


def _what_few_have(facts: ModelFacts) -> dict[str, Any]:
    """Return the fields that only some models have."""
    fields: dict[str, Any] = {}
    if facts.dense:
        files = [dense.folder / name for dense in facts.dense for name in ("config.json", "model.safetensors")]
        fields["modules"] = [[d.folder.relative_to(facts.folder).as_posix(), d.of_units] for d in facts.dense]
        fields["dense"] = {file.relative_to(facts.folder).as_posix(): _file_hash(file) for file in files}
    if facts.table:
        fields["static"] = {"unknown": facts.table.unknown}
    elif rules := file_rules(facts.transformer):
        fields["tokenizer_rules"] = rules
    own_code = facts.remote_code and read_json(facts.weights, "config.json").get("auto_map")
    if own_code and (code := sorted(facts.weights.glob("*.py"))):
        fields["code"] = {file.name: _file_hash(file) for file in code}
    if facts.adapter:
        fields["adapter"] = {name: _file_hash(facts.adapter.folder / name) for name in ADAPTER_FILES}
    if facts.queries:
        fields["queries"] = {
            k: v for k, v in space_record(facts.queries).to_json().items() if k not in ("prompt", "left_out")
        }
    if facts.left_out:
        fields["left_out"] = facts.left_out
    elif not facts.include_prompt:  # of queries
        fields["include_prompt"] = False
    return fields


def job_record(
    config: JobConfig, space: SpaceRecord, recipe: ChunkRecipe, precision: str, keep_types: dict[str, pa.DataType]
) -> JobRecord:
    """Return what decides a part's content: the space, and how rows become chunks and columns."""
    return JobRecord(
        space=space,
        chunk_tokens=recipe.chunk_tokens,
        late_chunking=recipe.pass_tokens,
        chunk_overlap=recipe.overlap,
        chunk_by=recipe.by,
        long="truncate" if recipe.truncate else "split",
        text_column=config.text_column,
        id_column=config.id_column,
        keep={name: str(kind) for name, kind in keep_types.items()},
        keep_text=config.keep_text,
        precision=precision,
        vector_type=config.vector_type,
        schema=SCHEMA_VERSION,
    )


def _file_hash(file: Path) -> str:
    """Return a file's sha256: from the cache if the file is as it was then, else from its bytes.

    Raises:
        ModelError: the hub's own name for it is another: it was damaged, or written to.
    """
    real = file.resolve()
    value = _hashed(real)
    if len(real.name) == 64 and real.parent.name == "blobs" and real.name != value:
        raise ModelError(
            f"{file} is not what the hub gave: the sha256 of {real} is {value}. Delete that, to fetch it anew."
        )
    return value


def _hashed(real: Path) -> str:
    stat = real.stat()
    state = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
    entry = cache_folder() / "hashes" / blake2b(f"{real}\n{state}".encode(), digest_size=16).hexdigest()
    try:
        return entry.read_text(encoding="ascii")
    except OSError:
        pass
    with real.open("rb") as stream:
        value = hashlib.file_digest(stream, "sha256").hexdigest()
    if stat.st_ctime_ns < time.time_ns() - _SETTLED_NS:  # else it may change again without its times telling
        keep(entry, value)
    return value
