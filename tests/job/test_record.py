"""What OUT records: typed, and as JSON what it always was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embed_corpus.data.records import differences, from_json
from embed_corpus.errors import UsageError
from embed_corpus.job.config import JobConfig
from embed_corpus.job.output import open_output
from embed_corpus.job.prepare import prepare
from embed_corpus.job.record import JobFile, JobRecord, SpaceRecord, read_job_file, read_last_run
from embed_corpus.store.layout import Layout
from golden.jobs import HERE
from kit.places import at
from kit.tiny import CORPUS

OLD = sorted((HERE / "out").iterdir())


@pytest.mark.parametrize("out", OLD, ids=lambda out: out.name)
def test_an_old_record_is_written_back_as_it_was(out: Path) -> None:
    """job.json and run.json of an earlier version are read, and would be written to the same bytes and hash."""
    layout = Layout(out)
    record, noted = JobRecord.from_json(read_job_file(layout).fields), read_last_run(layout)
    assert json.dumps(JobFile.of(record).to_json(), indent=1) + "\n" == at(layout.job).read_text()
    assert json.dumps(noted.to_json(), indent=1) + "\n" == at(layout.current_run).read_text()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunk_tokens": 20, "chunk_overlap": 4, "chunk_by": "sentences"},
        {"long": "truncate", "prompt": "find: "},
        {"late_chunking": True, "chunk_tokens": 32, "fast_tokenizer": False},
    ],
    ids=str,
)
def test_verify_has_the_recipe_of_the_run(tiny_model: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """What is recorded gives the recipe that the run was made by, value by value."""
    job = prepare(JobConfig((str(CORPUS),), tmp_path / "out", str(tiny_model), devices="cpu", **options))
    opened = open_output(tmp_path / "out")
    assert opened.record == job.record
    assert opened.record.recipe(opened.facts()) == job.recipe


def test_what_few_models_have_is_left_out_of_the_others() -> None:
    """A field at its default is not written, so that one can be added without changing a hash."""
    plain = SpaceRecord(weights={}, tokenizer="", prompt="", pooling="mean", dim=3, normalize=True)
    assert list(plain.to_json()) == ["weights", "tokenizer", "prompt", "pooling", "dim", "normalize"]


def test_fields_of_another_version_are_kept() -> None:
    """A field that this version does not know is part of hash and differences; one that is missing is named."""
    fields = read_job_file(Layout(OLD[0])).fields
    record = JobRecord.from_json(fields)
    newer = JobRecord.from_json(fields | {"colour": "red"})
    assert newer.to_json() == fields | {"colour": "red"}
    assert newer.hash != record.hash
    assert list(differences(record.to_json(), newer.to_json())) == ['colour: "red" there, null now']
    with pytest.raises(KeyError, match="dim"):
        from_json(SpaceRecord, {name: value for name, value in fields["space"].items() if name != "dim"})


@pytest.mark.parametrize("file", ["job", "current_run"])
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"job": "", "fields": [], "plan": "a"}', "null"])
def test_a_damaged_record_is_refused(tiny_model: Path, tmp_path: Path, file: str, content: str) -> None:
    """Whatever stands in job.json or run.json that is not ours ends with one sentence that names OUT."""
    out = tmp_path / "out"
    prepare(JobConfig((str(CORPUS),), out, str(tiny_model), devices="cpu"))
    at(getattr(Layout(out), file)).write_text(content)
    with pytest.raises(UsageError, match=f"{out} is no result of embed-corpus, or a damaged one"):
        open_output(out)
