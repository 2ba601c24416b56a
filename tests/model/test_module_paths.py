"""modules.json: which module is which kind, and where each lies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.errors import ModelError
from embed_corpus.job.fingerprint import space_record
from embed_corpus.model.facts import read_facts
from embed_corpus.model.modules import TYPES
from embed_corpus.verbs.model import describe_model
from kit.batches import cosines, encode
from kit.encoders import on_cpu
from kit.tiny import add_dense

TEXTS = ["flow", "heat transfer in hypersonic flow", "a boundary layer past a flat plate"]
LEFT = ("modules.json", "1_Pooling", "config_sentence_transformers.json")


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def relist(folder: Path, at: int, **changes: object) -> Path:
    """Change a module's entry in modules.json."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[at] |= changes
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def moved(folder: Path, path: str) -> Path:
    """Give the Transformer a folder of its own."""
    (folder / path).mkdir(parents=True)
    for file in [file for file in folder.iterdir() if file.is_file() and file.name not in LEFT]:
        file.rename(folder / path / file.name)
    return relist(folder, 0, path=path)


def ours(folder: Path) -> np.ndarray:
    """Vectors of `TEXTS`."""
    facts = read_facts(folder)
    return encode(on_cpu(facts), Chunker(WordTokenizer(facts.transformer), 64)(TEXTS).ids())


def theirs(folder: Path) -> np.ndarray:
    """What sentence-transformers makes of them."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode(TEXTS)


@pytest.mark.parametrize("path", ["0_Transformer", "deep/er", "./bert"])
def test_transformer_in_its_own_folder(folder: Path, path: str) -> None:
    """All that is the Transformer's is read from its path: same limit, same space, sentence-transformers' vectors."""
    before = read_facts(folder)
    space = space_record(before).hash
    facts = read_facts(moved(folder, path))
    assert facts.transformer == folder / path
    assert (facts.max_tokens, space_record(facts).hash) == (before.max_tokens, space)
    np.testing.assert_allclose(ours(folder), theirs(folder), atol=2e-6)


def test_model_command_of_a_moved_transformer(folder: Path) -> None:
    """`model` names the folder that the user named, and reads the tokenizer where it lies."""
    told = describe_model(str(moved(folder, "0_Transformer")), devices="cpu")
    assert (told.folder, told.special_tokens) == (str(folder), 2)


def test_files_at_the_root_are_not_the_transformers(folder: Path) -> None:
    """Files that someone left at the root do not stand in for those of the Transformer's own folder."""
    shutil.copy(folder / "config.json", folder.parent)
    shutil.copy(folder.parent / "config.json", moved(folder, "0_Transformer"))
    (folder / "0_Transformer/config.json").unlink()
    with pytest.raises(ModelError, match=rf"model folder {folder} lacks 0_Transformer/config\.json"):
        read_facts(folder)


def test_every_type_is_sentence_transformers_own() -> None:
    """Each name of a class that is taken for a kind is that kind to sentence-transformers, too."""
    import sentence_transformers.sentence_transformer.modules as known
    from sentence_transformers.util import import_from_string

    assert {name: import_from_string(name) for name in TYPES} == {n: getattr(known, k) for n, k in TYPES.items()}


@pytest.mark.heavy
@pytest.mark.parametrize("name", [name for name, kind in TYPES.items() if kind == "Transformer"])
def test_every_name_of_the_transformer(folder: Path, name: str) -> None:
    """Older and newer names of its class make no other vectors."""
    expected = ours(folder)
    assert (ours(relist(folder, 0, type=name)) == expected).all()


@pytest.mark.parametrize("name", ["modeling_own.Transformer", "Transformer", "own.models.Transformer", "x.Pooling"])
def test_code_of_its_own(folder: Path, name: str) -> None:
    """A class of the model's own is refused by its whole name, whatever sentence-transformers' class it is named as."""
    with pytest.raises(ModelError, match=f"names {name}, Python code that is not"):
        read_facts(relist(folder, 0, type=name))


@pytest.mark.parametrize("kind", ["LSTM", "CNN", "WordWeights", "LayerNorm", "CLIPModel", "Normalise"])
def test_other_modules(folder: Path, kind: str) -> None:
    """A module that is not built is refused by name, before any file is missed."""
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=f"modules that are not supported: {kind}"):
        read_facts(relist(folder, 1, type=f"sentence_transformers.models.{kind}"))


@pytest.mark.parametrize("path", ["..", "../other", "/etc", "C:\\x", "a/../../b"])
def test_path_outside(folder: Path, path: str) -> None:
    """A module's path does not leave the model's folder."""
    with pytest.raises(ModelError, match="outside the model's folder"):
        read_facts(relist(folder, 1, path=path))


def test_two_modules_of_one_name(folder: Path) -> None:
    """Of two modules with one name sentence-transformers drops the first without a word: refused."""
    with pytest.raises(ModelError, match="names two modules '1'"):
        read_facts(relist(folder, 2, name="1"))


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["models.Dropout", "sentence_transformer.modules.dropout.Dropout"])
@pytest.mark.parametrize("places", [(2,), (3,), (2, 3, 5)])
def test_dropout(folder: Path, kind: str, places: tuple[int, ...]) -> None:
    """Dropout, before, between and behind Dense and Normalize modules, leaves vectors as they are."""
    add_dense(folder, 32, 24)
    expected = ours(folder)
    modules = json.loads((folder / "modules.json").read_text())
    for place in places:
        path = f"drop_{place}"
        modules.insert(place, {"idx": 0, "name": path, "path": path, "type": f"sentence_transformers.{kind}"})
        (folder / path).mkdir()
        (folder / path / "config.json").write_text('{"dropout": 0.5}')
    (folder / "modules.json").write_text(json.dumps(modules))
    assert (ours(folder) == expected).all()
    assert (cosines(ours(folder), theirs(folder)) >= 0.99999).all()
