"""Models that bring Python code of their own: refused, unless it was allowed and is pinned."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import dynamic_module_utils

from embed_corpus.errors import ModelError, UsageError
from embed_corpus.job.fingerprint import space_record
from embed_corpus.model.facts import read_facts
from embed_corpus.model.folder import model_folder
from kit.batches import cosines, encode, random_ids
from kit.encoders import on_cpu, ready_on_cpu
from kit.tiny import edit

CODE = """
from transformers import BertConfig, BertModel

class OwnConfig(BertConfig):
    model_type = "own-bert"

class OwnModel(BertModel):
    config_class = OwnConfig
"""
AUTO_MAP = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny BERT under a name that transformers does not know, with its code beside it."""
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    edit(copy, "config.json", model_type="own-bert", auto_map=AUTO_MAP)
    (copy / "own.py").write_text(CODE)
    return copy


def test_no_code_of_a_type_without_a_model_of_its_own(folder: Path) -> None:
    """A type that transformers knows, but has no embedding model for, is no way to have code run unasked."""
    ran = folder / "ran"
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(ran)!r}).touch()\nclass Evil: ...\n")
    halves = {half: {"model_type": "bert"} for half in ("encoder", "decoder")}
    edit(folder, "config.json", model_type="encoder-decoder", auto_map={"AutoModel": "evil.Evil"}, **halves)
    with pytest.raises(ModelError):
        on_cpu(read_facts(folder))
    assert not ran.exists()


def test_refused(folder: Path) -> None:
    """Code is not run unasked, and the message says how to allow it."""
    (folder / "own.py").write_text("raise AssertionError('it was run')")
    with pytest.raises(ModelError, match=r"'own-bert' is not one of transformers'.*--trust-remote-code"):
        on_cpu(read_facts(folder))


def test_allowed(folder: Path, tiny_model: Path) -> None:
    """Once it was allowed the model gives the vectors of its architecture, packed or padded."""
    encoder = ready_on_cpu(read_facts(folder, remote_code=True))
    ids = random_ids([5, 40, 64])
    assert (cosines(encode(encoder, ids), encode(on_cpu(read_facts(tiny_model)), ids)) > 0.99999).all()
    assert np.isfinite(encode(encoder, ids)).all()


def test_code_is_part_of_the_space(folder: Path) -> None:
    """Other code is another space, where it is run at all."""
    before = space_record(read_facts(folder, remote_code=True))
    (folder / "own.py").write_text(CODE + "# changed\n")
    assert space_record(read_facts(folder, remote_code=True)) != before
    assert space_record(read_facts(folder)).code is None


def test_code_from_elsewhere(folder: Path) -> None:
    """Code in another repository is refused though code is allowed: nothing pins it."""
    edit(folder, "config.json", auto_map={name: f"someone/else--{place}" for name, place in AUTO_MAP.items()})
    with pytest.raises(ModelError, match=r"another repository \(someone/else--own"):
        on_cpu(read_facts(folder, remote_code=True))


@pytest.mark.parametrize("revision", [None, "main", "abc1234", "g" * 40])
def test_hub_code_is_pinned(revision: str | None) -> None:
    """A hub model's code takes a commit's 40 hex digits; a branch, a tag or half a commit can be moved."""
    with pytest.raises(UsageError, match="--revision and the commit's 40 hex digits"):
        model_folder("someone/model", revision, code=True)
