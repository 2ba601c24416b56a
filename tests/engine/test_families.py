"""The table of families: what stands in it is there, and it can be read without torch."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import transformers

from embed_corpus.engine.families import FAMILIES, Family, family_of


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_the_table_names_is_there(family: Family) -> None:
    """Its model types and classes are transformers' own, and its module can fuse."""
    assert family.model_types <= set(transformers.CONFIG_MAPPING)
    assert set(family.encoder_halves) <= family.model_types
    assert all(name in dir(transformers) for name in (*family.fused, *family.encoder_halves.values()))
    assert bool(family.fused_in) == bool(family.fused)
    if family.fused_in:
        assert callable(import_module(f"embed_corpus.engine.families.{family.fused_in}").fuse)


def test_a_model_type_is_of_one_family() -> None:
    """No two entries claim the same model type or class; what none claims is of a family of which nothing is known."""
    for names in ([n for f in FAMILIES for n in f.model_types], [n for f in FAMILIES for n in f.fused]):
        assert len(names) == len(set(names))
    assert family_of("llama") == Family("", frozenset())


@pytest.mark.process
def test_the_table_needs_no_torch() -> None:
    """Who chooses a precision reads the table, and does not wait for torch."""
    ask = "import sys, embed_corpus.engine.families, embed_corpus.engine.encoders; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", ask], check=False).returncode == 0
