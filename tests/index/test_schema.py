"""index.json: typed, and to the byte what it always was."""

from __future__ import annotations

import json

import pytest

from embed_corpus.index.manifest import digest_of, read_manifest
from embed_corpus.index.schema import IndexRecord
from embed_corpus.store.layout import Layout
from golden.jobs import HERE
from kit.places import at

OLD = Layout(HERE / "out" / "plain")
CONTENT = at(OLD.index / "index.json").read_text()


def test_an_old_record_is_written_back_as_it_was() -> None:
    """index.json of an earlier version is read, and would be written to the same bytes and checksum."""
    record = read_manifest(OLD)
    assert record is not None
    assert json.dumps(record.to_json(), indent=1) + "\n" == CONTENT
    assert digest_of(record.to_json()) == record.sha256


@pytest.mark.parametrize(
    "tried", [{}, {"missed": {}}, {"missed": {"HNSW32": 0.9}}, {"vectors": 7, "colour": "red"}], ids=str
)
def test_fields_that_few_have(tried: dict[str, object]) -> None:
    """Fields that some indexes have alone, and those of another version, are kept; without them nothing is added."""
    content = json.loads(CONTENT) | tried
    record = IndexRecord.from_json(content)
    assert record.to_json() == content
    assert record.missed == tried.get("missed")
    assert record.n_vectors == tried.get("vectors", record.rows)


def test_a_version_that_told_less() -> None:
    """An index whose recall was not measured is read; what is missing looks asked for by nobody."""
    needed = ("type", "metric", "rows", "dim", "snapshot", "space", "parts", "files", "effort", "sha256")
    record = IndexRecord.from_json({name: json.loads(CONTENT)[name] for name in needed})
    assert (record.asked, record.target_recall, record.recall) == ("", None, {})
    assert list(record.checksums) == [part.name for part in record.parts] != []
