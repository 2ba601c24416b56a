"""Write docs/options.md from the options as they are declared: `python tests/options_page.py`."""

from __future__ import annotations

from pathlib import Path

from embed_corpus.job.config import GROUPS, JobConfig
from embed_corpus.job.options.option import Declared, options_of

PAGE = Path(__file__).parents[1] / "docs" / "options.md"
_HEAD = """# The options of a job

A job is told by flags (`--chunk-tokens 256`), in a job file for `run --config` (`chunk-tokens = 256`, TOML), or from
Python (`JobConfig(input=("corpus/",), output="out/", chunk_tokens=256)`); flags win over the job file. A switch is
`--keep-text` on the command line, `keep-text = true` in TOML, `keep_text=True` in Python; what may be said several
times is a list in TOML and a tuple in Python. INPUT and OUT are arguments on the command line, and the keys
`input = ["…"]` and `output = "…"` in a job file, where they are relative to it.

All are options of `run`; `plan` and `bench` take those that decide what they tell.

This page is written from `pipeline/embed_corpus/job/options/`: `python tests/options_page.py`.
"""


def page() -> str:
    """Return the page's text."""
    return _HEAD + "".join(_group(group) for group in GROUPS)


def _group(group: type) -> str:
    rows = [_row(each) for each in options_of(JobConfig).values() if each.group is group]
    head = "| flag | TOML key | value | default | also in | |\n|---|---|---|---|---|---|\n"
    return f"\n## {group.__name__}\n\n{group.__doc__}\n\n{head}{''.join(rows)}"


def _row(each: Declared) -> str:
    flag = f"`{each.flag}`" if each.option.flag else {"input": "`INPUT...`", "output": "`OUT`"}[each.name]
    also = ", ".join(f"`{name}`" for name in each.option.also.split())
    return f"| {flag} | `{each.key}` | {_value(each)} | {_default(each)} | {also} | {_plain(each.option.help)} |\n"


def _value(each: Declared) -> str:
    if each.choices:
        return ", ".join(f"`{choice}`" for choice in each.choices)
    names = {bool: "switch", int: "whole number", float: "number", str: "text", Path: "path", tuple: "texts"}
    option, bounds = each.option, ""
    if option.least is not None:
        bounds = f", {option.least:,} to {option.most:,}" if option.most else f", {option.least:,} or more"
    return names[each.kind] + bounds


def _default(each: Declared) -> str:
    if each.option.shown:
        return _plain(each.option.shown)
    if each.default in (None, ()):
        return ""
    return f"`{str(each.default).lower() if isinstance(each.default, bool) else each.default}`"


def _plain(text: str) -> str:
    """Keep a text from being taken for a cell's end, or a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf8")
