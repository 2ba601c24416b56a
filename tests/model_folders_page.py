"""Write docs/model-folders.md from the rules in the code: `python tests/model_folders_page.py`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from embed_corpus.model.adapter import ADAPTER_KEYS
from embed_corpus.model.folder_rules import FILES, FileRule, Key

PAGE = Path(__file__).parents[1] / "docs" / "model-folders.md"
_HEAD = """# What of a model folder is obeyed

Every file and every key of a model's folder is **obeyed** (as sentence-transformers 6.2 and transformers 5 obey it),
known to be **harmless** (it changes no vector), or **refused**: the run ends with exit code 2 and a sentence that names
the file and the key, before anything is embedded. A key that is not listed here is refused in the files whose keys are
listed, because what is not known may change vectors. `null` is as good as no key at all.

Files that are no files of their kind are told by their first bytes: Git LFS pointers, error pages, UTF-16, archives.
Beyond the single keys, what belongs together is compared before the first batch: the tokenizer's ids with the rows of
the embedding table, the tokens with those of transformers' own class for the folder, the Pooling and Dense modules'
sizes with the model's, and the layers as they run here with transformers' own.

This page is written from `pipeline/embed_corpus/model/folder_rules.py`: `python tests/model_folders_page.py`.

## Files

| in the folder of | file | | why |
|---|---|---|---|
"""


def page() -> str:
    """Return the page's text."""
    rows = []
    for (of, verdict, why), rules in groupby(FILES, lambda rule: (rule.of, rule.verdict.value, rule.why)):
        names = ", ".join(f"`{rule.pattern}`" for rule in rules)
        rows.append(f"| {_place(of)} | {names.replace('`*`', 'any other')} | {verdict} | {why} |\n")
    return _HEAD + "".join(rows) + "".join(_keys(rule) for rule in FILES if rule.keys) + _adapter()


def _adapter() -> str:
    rows = []
    for (verdict, why), keys in groupby(ADAPTER_KEYS, ADAPTER_KEYS.__getitem__):
        rows.append(f"| {', '.join(f'`{key}`' for key in keys)} | {verdict} | {why} |\n")
    return "\n## `adapter_config.json` of the Transformer module\n\n| key | | why |\n|---|---|---|\n" + "".join(rows)


def _place(of: str) -> str:
    names = {"model": "the model", "any": "any module", "model2vec": "model2vec's own, without modules.json"}
    return names.get(of, f"the {of} module")


def _keys(rule: FileRule) -> str:
    found = []

    def alike(key: Key) -> tuple[str, str, tuple[object, ...]]:
        return key.verdict.value, key.why, key.passes

    for (verdict, why, passes), keys in groupby(rule.keys, alike):
        names = ", ".join(f"`{key.name}`" for key in keys).replace("`*`", "any other").replace("*", "…")
        but = f"; passes if {', '.join(f'`{value!r}`' for value in passes)}" if passes else ""
        found.append(f"| {names} | {verdict} | {why}{but} |\n")
    return f"\n## `{rule.pattern}` of {_place(rule.of)}\n\n| key | | why |\n|---|---|---|\n" + "".join(found)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf8")
