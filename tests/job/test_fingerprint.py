"""A model is told by what its files hold, not by their names, sizes and times."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from embed_corpus.chunk.compare import differs_from_transformers
from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.errors import ModelError
from embed_corpus.job import fingerprint
from embed_corpus.job.fingerprint import space_record
from embed_corpus.model.facts import read_facts
from kit.tiny import edit


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of its own, hashed and known however new it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprint, "_SETTLED_NS", -(1 << 62))
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    space_record(read_facts(folder))
    return folder


def write_over(file: Path) -> None:
    """Change one byte in place; size and time stay."""
    stat, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    with file.open("r+b") as stream:
        stream.write(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def put_in_place(file: Path) -> None:
    """Replace it by another of the same size and time."""
    other = Path(shutil.copy2(file, file.with_name("other")))
    write_over(other)
    other.replace(file)


@pytest.mark.parametrize("change", [write_over, put_in_place])
def test_weights_changed_behind_size_and_time(folder: Path, change: Callable[[Path], None]) -> None:
    """They make another space."""
    before = space_record(read_facts(folder)).to_json()
    change(folder / "model.safetensors")
    after = space_record(read_facts(folder)).to_json()
    assert {name for name in after if after[name] != before[name]} == {"weights"}


def test_what_did_not_change_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gigabytes of weights are not read by every command; a file that may still change is."""
    monkeypatch.setattr(fingerprint.hashlib, "file_digest", None)
    space_record(read_facts(folder))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "new"))
    space_record(read_facts(folder))
    assert not (folder.parent / "new" / "embed-corpus" / "hashes").exists()


def test_a_blob_of_the_hub_is_what_its_name_says_or_refused(folder: Path) -> None:
    """Its name is the sha256 of what was downloaded; written to since, or damaged, it is another model's weights."""
    weights, before = folder / "model.safetensors", space_record(read_facts(folder))
    name = hashlib.sha256(weights.read_bytes()).hexdigest()
    (folder.parent / "blobs").mkdir()
    blob = weights.rename(folder.parent / "blobs" / name)
    weights.symlink_to(blob)
    assert space_record(read_facts(folder)) == before
    write_over(blob)
    with pytest.raises(ModelError, match=rf"not what the hub gave.*{name}"):
        space_record(read_facts(folder))


@pytest.mark.parametrize("name", ["tokenizer_config.json", "vocab.txt"])
def test_tokenizer_files_changed_behind_size_and_time(folder: Path, name: str) -> None:
    """Whether transformers makes other tokens of a folder is asked again."""
    (folder / "vocab.txt").touch()
    with (folder / name).open("a") as stream:
        stream.write("\n")
    verdicts = folder.parent / "cache" / "embed-corpus" / "tokenizers"
    for n_asked in (1, 2):
        differs_from_transformers(WordTokenizer(folder), folder)
        differs_from_transformers(WordTokenizer(folder), folder)
        assert len(list(verdicts.iterdir())) == n_asked
        stat = (folder / name).stat()
        (folder / name).write_text((folder / name).read_text()[:-1] + " ")
        os.utime(folder / name, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_whether_the_query_prompt_is_pooled_makes_the_space(folder: Path) -> None:
    """A model that leaves the prompt out of pooling gives its queries other vectors, though documents have none."""
    before = space_record(read_facts(folder)).to_json()
    edit(folder, "1_Pooling/config.json", include_prompt=False)
    after = space_record(read_facts(folder)).to_json()
    assert after.pop("include_prompt") is False
    assert after == before
