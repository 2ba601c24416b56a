"""What is said beside tokenizer.json about how a model's texts are tokenised."""

from __future__ import annotations

import json
from hashlib import blake2b
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, normalizers

from embed_corpus import __version__
from embed_corpus.engine.cache import cache_folder, keep
from embed_corpus.engine.folder import read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["apply_rules", "differs_from_transformers", "file_rules", "inner_tokenizer", "spec_of"]

_BERTS = ("Bert", "DistilBert", "Electra", "MPNet", "Funnel", "MobileBert", "RetriBert", "ConvBert", "LayoutLM")
"""Families whose tokenizer class takes its normaliser from tokenizer_config.json, not from tokenizer.json."""


def apply_rules(tokenizer: Tokenizer, folder: Path) -> bool:
    """Make a tokenizer's normaliser the one that transformers and sentence-transformers give it.

    Returns:
        Whether it is another one than tokenizer.json's.

    Raises:
        ModelError: a configuration file is broken.
    """
    before = spec_of(tokenizer.normalizer)
    config = read_json(folder, "tokenizer_config.json", default={})
    if _class_of(config) in _BERTS and (before or {}).get("type") == "BertNormalizer":
        tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=config.get("tokenize_chinese_chars", True),
            strip_accents=config.get("strip_accents"),
            lowercase=config.get("do_lower_case", True),
        )
    if read_json(folder, "sentence_bert_config.json", default={}).get("do_lower_case"):
        _lower_case(tokenizer)
    return bool(spec_of(tokenizer.normalizer) != before)


def _class_of(config: dict[str, Any]) -> str:
    return str(config.get("tokenizer_class") or "").removesuffix("Fast").removesuffix("Tokenizer")


def file_rules(folder: Path) -> dict[str, Any]:
    """Return what decides about tokens beside tokenizer.json, as the files say it.

    Raises:
        ModelError: a configuration file is broken.
    """
    config = read_json(folder, "tokenizer_config.json", default={})
    names = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
    rules = {name: config[name] for name in names if name in config}
    if _class_of(config) in _BERTS:
        rules["tokenizer_class"] = _class_of(config)
    if read_json(folder, "sentence_bert_config.json", default={}).get("do_lower_case"):
        rules["lower_case_first"] = True
    return rules


def _lower_case(tokenizer: Tokenizer) -> None:
    now = spec_of(tokenizer.normalizer)
    steps = (now or {}).get("normalizers", [now] if now else [])
    if any(step["type"] == "Lowercase" or step.get("lowercase") for step in steps):
        return
    rest = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])


def inner_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Return the tokenizer for a piece of a text that is not its beginning.

    It is another one where the normaliser puts a space before every text, also one that begins with a space.
    """
    steps = (spec_of(tokenizer.normalizer) or {}).get("normalizers", [])
    if not any(step["type"] == "Prepend" for step in steps):
        return tokenizer
    inner = Tokenizer.from_str(tokenizer.to_str())
    kept = zip(tokenizer.normalizer, steps, strict=True)
    inner.normalizer = normalizers.Sequence([part for part, step in kept if step["type"] != "Prepend"])
    return inner


_PROBES = (
    "The Boundary layer's 3.14159 (42), über İstanbul.",
    " begins with a space,\n\nand  holds\ttwo lines",
    "ветер дует 风从海上吹来 새 책은 नदी לקרוא ½ ﬁ e\u0301 😀",
)


def differs_from_transformers(load: Callable[[], Callable[[str], list[int]]], folder: Path) -> str:
    """Say if the model's own class in transformers, which goes by more files than tokenizer.json, gives other ids.

    What `load` gives tells our ids, special tokens included. Empty too where transformers has no tokenizer for the
    folder.
    """
    entry = cache_folder() / "tokenizers" / _state(folder)
    try:
        return entry.read_text(encoding="ascii")  # asked before: it takes seconds for a large vocabulary
    except (OSError, ValueError):
        pass
    from transformers import AutoTokenizer

    try:
        ids_of, theirs = load(), AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        differ = [text for text in _PROBES if theirs.encode(text) != ids_of(text)]
    except Exception:  # noqa: BLE001  # whatever it lacks, it is no judge then
        return ""
    name = type(theirs).__name__
    verdict = f"transformers' {name} makes other tokens than tokenizer.json, e.g. of {differ[0]!a}" if differ else ""
    keep(entry, verdict)
    return verdict


def _state(folder: Path) -> str:
    """Name the state of the files that may decide about tokens, and the versions of who reads them."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix not in {".safetensors", ".bin"})
    stats = [(file.name, file.stat()) for file in files]
    state = [str(folder.resolve()), __version__, version("transformers"), version("tokenizers")]
    state += [f"{name} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}" for name, s in stats]
    return blake2b("\n".join(state).encode(), digest_size=16).hexdigest()


def spec_of(part: Any) -> dict[str, Any] | None:
    """Return what tokenizer.json says of one of a tokenizer's parts, without writing its vocabulary out."""
    spec: dict[str, Any] | None = None if part is None else json.loads(part.__getstate__())
    return spec
