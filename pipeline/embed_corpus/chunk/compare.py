"""Do our tokens equal those of the model's own class in transformers, which goes by more files than tokenizer.json?"""

from __future__ import annotations

from hashlib import blake2b
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Any

from tokenizers import normalizers

from embed_corpus import __version__
from embed_corpus.errors import ModelError
from embed_corpus.model.settings import settings_of
from embed_corpus.store.cache import cache_folder, keep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from embed_corpus.chunk.tokenizer import WordTokenizer

__all__ = ["check_tokens", "differs_from_transformers", "import_transformers", "probes"]

_TEXTS = (
    "The Boundary layer's 3.14159 (42), über İstanbul.",
    " begins with a space,\n\nand  holds\ttwo lines \r\n",
    "ветер дует 风从海上吹来 새 책은 नदी לקרוא ½ ﬁ e\u0301 😀",
    "ﬀ width\u00a0\u2003space, soft\u00adhyphen, zero\u200bwidth, \u0001control, Ⅷ² ÅÉñ ß ς Σ ǅ 👩‍👩‍👧 «“quotes”»…",
    "ん" + "Donaudampfschifffahrtsgesellschaftskapitän" * 4 + " " + "q" * 101 + " https://example.org/a_b?c=d",
)
_FEW = 100
"""Added tokens that are asked about one by one; of more, the first half and the last."""


def check_tokens(words: WordTokenizer, folder: Path) -> None:
    """Refuse a model whose own class in transformers, which sentence-transformers uses, makes other tokens.

    Such vectors would be wrong without a sign of it, so it is no warning: saving the tokenizer anew is one line.

    Raises:
        ModelError: it does, of a text that is told.
    """
    if differs := differs_from_transformers(words, folder):
        raise ModelError(
            f"{folder / 'tokenizer.json'}: {differs}: vectors would not be those of sentence-transformers. If "
            "transformers is right, let it save what it reads (AutoTokenizer.from_pretrained(FOLDER).save_pretrained"
            "(FOLDER), in a copy); if not, set tokenizer_class in its tokenizer_config.json to PreTrainedTokenizerFast."
        )


def differs_from_transformers(words: WordTokenizer, folder: Path) -> str:
    """Say if the model's own class in transformers gives other ids, special tokens included.

    Empty too where transformers has no tokenizer for the folder.
    """
    entry = cache_folder() / "tokenizers" / _state(folder)
    try:
        return entry.read_text(encoding="ascii")  # asked before: it takes seconds for a large vocabulary
    except (OSError, ValueError):
        pass
    try:
        theirs = _theirs(folder)
        known = {token.content for token in theirs.added_tokens_decoder.values()}
        texts = list(probes(sorted(known | set(words.added))))
        expected = [theirs.encode(text) for text in texts]
    except Exception:  # noqa: BLE001  # whatever it lacks, it is no judge then
        return ""
    differ = next((text for text, ids in zip(texts, expected, strict=True) if words.whole(text) != ids), None)
    name = type(theirs).__name__
    verdict = "" if differ is None else f"transformers' {name} makes other tokens than tokenizer.json, of {differ!a}"
    keep(entry, verdict)
    return verdict


def _theirs(folder: Path) -> Any:
    """Load the tokenizer as sentence-transformers does."""
    from transformers import AutoProcessor

    settings = settings_of(folder)
    options = {key: value for key, value in (settings.get("processor_kwargs") or {}).items() if "trust" not in key}
    loaded = AutoProcessor.from_pretrained(folder, trust_remote_code=False, **options)
    tokenizer = getattr(loaded, "tokenizer", loaded)
    if settings.get("do_lower_case"):
        backend = tokenizer.backend_tokenizer
        rest = [] if backend.normalizer is None else [backend.normalizer]
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
    return tokenizer


def import_transformers() -> None:
    """Import what a tokenizer or a model is loaded with, before several threads do so at the same time.

    transformers imports most of itself on demand; a thread that meets another one's import half-way may be told that
    a name is not there.
    """
    from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer  # noqa: F401


def probes(tokens: list[str]) -> Iterator[str]:
    """Yield texts that show most differences: many scripts and spaces, and each added token in several places."""
    yield from _TEXTS
    some = tokens if len(tokens) <= _FEW else [*tokens[: _FEW // 2], *tokens[-_FEW // 2 :]]
    for token in some:
        yield f"The {token} of heat,{token}Flow {token.upper()} {token.lower()}s  {token} \n{token}"
    yield from islice((f"{token}{token} x" for token in some), 10)


def _state(folder: Path) -> str:
    """Name the state of the files that may decide about tokens, and the versions of who reads them."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix not in {".safetensors", ".bin"})
    stats = [(file.name, file.stat()) for file in files]
    state = [str(folder.resolve()), __version__, version("transformers"), version("tokenizers")]
    state += [f"{name} {s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}" for name, s in stats]
    return blake2b("\n".join(state).encode(errors="surrogateescape"), digest_size=16).hexdigest()
