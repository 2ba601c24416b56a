"""The table of formats: what is in it is read, what is not is an error."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from embed_corpus.data import Shard
from embed_corpus.errors import DataError
from embed_corpus.source.discover import Found
from embed_corpus.source.formats.base import Format
from embed_corpus.source.formats.table import FORMATS, SUFFIXES, format_named, format_of, stem_of
from embed_corpus.source.inspect import inspect
from embed_corpus.source.read import read_shard
from kit.source_files import TEXT, write_jsonl

METHODS = [name for name in vars(Format) if not name.startswith("_")]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_has_every_method(name: str) -> None:
    """A format is a module with the five functions of the Protocol, and nothing else in public."""
    module = format_named(name)
    assert isinstance(module, ModuleType)
    assert sorted(module.__all__) == sorted(METHODS)
    assert len(METHODS) <= 5


@pytest.mark.parametrize("ending", SUFFIXES)
def test_an_ending_tells_format_and_stem(ending: str) -> None:
    """Every ending of the table, in any case, tells the format, and is no part of the stem."""
    assert format_of(f"folder.x/a.b{ending.upper()}") == SUFFIXES[ending]
    assert stem_of(f"folder.x/a.b{ending.upper()}") == "a.b"


def test_what_is_not_in_the_table_is_never_read(tmp_path: Path) -> None:
    """Good JSON lines under the name of a format that nobody reads are an error, not read as JSON lines."""
    file = write_jsonl(tmp_path / "a.xml", {"text": "heat"})
    for name in ("xml", ""):
        with pytest.raises(DataError, match=f"{name!r} is no format that is read. Read are parquet, jsonl"):
            inspect(Found(str(file), file.name, name), TEXT)
        with pytest.raises(DataError, match="is no format that is read"):
            list(read_shard(Shard("id", file.name, 0, 1, path=str(file), format=name), TEXT, {}))
