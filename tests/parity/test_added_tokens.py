"""Tokens that files beside tokenizer.json add are whole, as in transformers, in every kind of tokenizer and lane."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from embed_corpus.chunk.compare import differs_from_transformers
from embed_corpus.chunk.rules import file_rules
from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.errors import ModelError, UsageError
from embed_corpus.job.fits import check_fit
from embed_corpus.model.facts import read_facts
from kit.encoders import loaded_on_cpu
from kit.tiny import Command, edit
from parity.kinds import KINDS

TOKEN = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
TEXT = "The [NEW] plate,[NEW]Heat of [new] flow[OLD] and New York x"
WAYS: dict[str, dict[str, Any]] = {
    "decoder": {"added_tokens_decoder": {"1700": {"content": "[NEW]"} | TOKEN, "9": {"content": "plate"} | TOKEN}},
    "stripping": {"added_tokens_decoder": {"1700": {"content": "[NEW]"} | TOKEN | {"lstrip": True, "rstrip": True}}},
    "additional": {"additional_special_tokens": ["[NEW]", "[OLD]"]},
    "extra": {"extra_special_tokens": {"image_token": "[NEW]"}},
    "named": {"mask_token": "[NEW]", "odd_token": "[OLD]"},
    "with a space": {"additional_special_tokens": ["New York"]},
    "words": {"added_tokens_decoder": {"1700": {"content": "[new"} | TOKEN | {"special": False, "normalized": True}}},
}


@pytest.fixture(params=["wordpiece", "qwen", "xlmr", "llama2"])
def folder(request: pytest.FixtureRequest, trained: Callable[[str], Tokenizer], tmp_path: Path) -> Path:
    """A folder with a tokenizer of a kind."""
    kind = KINDS[request.param]
    trained(request.param).save(str(tmp_path / "tokenizer.json"))
    roles = {"tokenizer_class": kind.cls, **kind.roles}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(roles))
    return tmp_path


@pytest.mark.heavy
@pytest.mark.parametrize("way", WAYS)
def test_one_token(folder: Path, way: str) -> None:
    """Our ids are those of transformers, with a fast lane as without, and the token enters the fingerprint."""
    plain, rules = WordTokenizer(folder).whole(TEXT), file_rules(folder)
    edit(folder, "tokenizer_config.json", **WAYS[way])
    theirs = AutoTokenizer.from_pretrained(folder).encode(TEXT)
    words = WordTokenizer(folder)
    assert words.whole(TEXT) == theirs != plain
    words.prove([TEXT, "plain text", *(f"{i} flow [NEW] of heat" for i in range(50))])
    assert words.whole(TEXT) == theirs
    assert differs_from_transformers(words, folder) == ""
    assert file_rules(folder) != rules


def test_older_files(folder: Path) -> None:
    """special_tokens_map.json and added_tokens.json count where tokenizer_config.json has no added_tokens_decoder."""
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": ["[OLD]"]}))
    (folder / "added_tokens.json").write_text(json.dumps({"[NEW]": 1800}))
    words = WordTokenizer(folder)
    assert words.whole(TEXT) == AutoTokenizer.from_pretrained(folder).encode(TEXT)
    assert {"[OLD]", "[NEW]"} <= set(words.added)


@pytest.mark.heavy
def test_a_long_text_is_not_cut_inside(folder: Path) -> None:
    """A token with a space in it stays whole where a long text is tokenised piece by piece."""
    edit(folder, "tokenizer_config.json", additional_special_tokens=["New York"])
    words = WordTokenizer(folder)
    text = "New York " * 60_000
    ids = np.concatenate([slab.ids for slab, _ in words.slabs(text)])
    assert (ids == words.added["New York"]).sum() == 60_000


def test_odd_token(folder: Path) -> None:
    """A token that is no token is refused in a sentence."""
    edit(folder, "tokenizer_config.json", additional_special_tokens=[7])
    with pytest.raises(ModelError, match="names a token in an odd way"):
        WordTokenizer(folder)


def test_end_of_a_long_text(folder: Path) -> None:
    """A model that wants the end of a long text kept is refused with truncation, and split as any other."""
    edit(folder, "tokenizer_config.json", truncation_side="left")
    words = WordTokenizer(folder)
    assert len(Chunker(words, 12)([TEXT * 4])) > 1
    with pytest.raises(UsageError, match=r"truncation_side 'left'.*--long split"):
        Chunker(words, 12, truncate=True)


@pytest.mark.parametrize("content", ["[PRODUCT]", "heat"])
def test_token_beyond_the_table(tiny_model: Path, tmp_path: Path, content: str) -> None:
    """A tokenizer with an id that the embedding table has no row for is refused, naming token and sizes."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    facts = read_facts(folder)
    rows = loaded_on_cpu(facts).known_ids
    check_fit(WordTokenizer(folder), facts, rows)
    spec = json.loads((folder / "tokenizer.json").read_text())
    if content == "heat":
        spec["model"]["vocab"]["heat-exchanger"] = 2000
    else:
        spec["added_tokens"].append({"id": 2000, "content": content} | TOKEN)
        spec["model"]["vocab"] |= {f"[{i}]": i for i in range(len(spec["model"]["vocab"]), 2000)}
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(ModelError, match=r"knows '.*' as id 2,000, but its embedding table has 2,000 rows"):
        check_fit(WordTokenizer(folder), facts, rows)


def test_bench_refuses_them_too(tiny_model: Path, tmp_path: Path, embed_corpus: Command) -> None:
    """`bench` looks at ids before it times anything: with a corpus it would look them up."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["model"]["vocab"]["heat-exchanger"] = 2000
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    done = embed_corpus("bench", "--model", folder, "--tokens", "500", "--rounds", "1", "--devices", "cpu")
    assert (done.returncode, "knows 'heat-exchanger' as id 2,000" in done.stderr) == (2, True), done.stderr
