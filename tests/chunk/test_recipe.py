"""A recipe: made once, it cuts alike wherever it is taken."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embed_corpus.chunk.recipe import ChunkRecipe
from embed_corpus.data import Chunks
from embed_corpus.model.facts import read_facts

TEXT = "flow past a flat plate. heat in dry air at the speed of sound. a wing has lift and drag. " * 4


def same(a: Chunks, b: Chunks) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("start", "end", "input_ids", "passes"))


@pytest.mark.parametrize(
    "options",
    [{}, {"overlap": 5, "by": "sentences"}, {"truncate": True}, {"pass_tokens": 100}, {"prompt": "find: "}],
    ids=str,
)
def test_it_crosses_to_other_processes(tiny_model: Path, options: dict[str, str | int]) -> None:
    """A copy that went through pickle is equal, and cuts a text as the first does; each value of it matters."""
    recipe = ChunkRecipe(tiny_model, 24, **options)  # type: ignore[arg-type]
    copy = pickle.loads(pickle.dumps(recipe))
    assert copy == recipe
    chunks = recipe.chunker()([TEXT])
    assert same(copy.chunker()([TEXT]), chunks)
    assert not options or not same(ChunkRecipe(tiny_model, 24).chunker()([TEXT]), chunks)


def test_a_fast_lane_is_used_only_if_the_recipe_says_so(tiny_model: Path) -> None:
    """Without `fast`, no lane is used, whatever is proven later; with it, one is used at once."""
    recipe = ChunkRecipe.of_model(read_facts(tiny_model), 64)
    assert recipe.tokenizer().prove([TEXT]) == "tokenizers"
    assert replace(recipe, fast=True).tokenizer().lane != "tokenizers"
