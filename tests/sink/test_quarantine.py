"""Parts taken out of data/: with all that tells of them, and killed anywhere, still to the end."""

from __future__ import annotations

import json

import pytest

from embed_corpus.sink.quarantine import distrust, set_aside, set_distrusted_aside
from embed_corpus.sink.readback import part_stats
from embed_corpus.store.layout import Layout
from embed_corpus.store.local import Folder
from kit.part_blocks import Killed, failing, shard_of, six_rows, write
from kit.places import at

PART = shard_of(7).part_name


@pytest.fixture(autouse=True)
def _part(layout: Layout) -> None:
    """A part of six documents and a reject."""
    write(layout, six_rows())


def files(layout: Layout, *folders: str) -> list[str]:
    """Names of the files in these folders of OUT, in order of the folders."""
    return [path.name for folder in folders for path in sorted((layout.root / folder).glob("*"))]


def test_note_and_record_go_with_the_part(layout: Layout) -> None:
    """A part leaves nothing behind that tells of it, twice under names of its own, and is gone the third time."""
    for i in range(2):
        assert set_aside(layout, PART, layout.quarantine) == layout.quarantine / f"{PART}.{i}"
        assert files(layout, "data", "_embed/stats", "_embed/rejects") == []
        write(layout, six_rows())
    assert files(layout, "_embed/quarantine") == [
        f"{name}.{i}" for name in ("5ha4d.json", "5ha4d.jsonl.zst", PART) for i in range(2)
    ]
    at(layout.data / PART).unlink()
    assert set_aside(layout, PART, layout.quarantine) is None


@pytest.mark.parametrize("step", [1, 2, 3])
def test_killed_on_the_way(layout: Layout, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Killed at any step, the part still counts and tells its rejects; what a wrong tokenizer made goes later on."""
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "move", failing(Killed(), step, Folder.move))
        with pytest.raises(Killed):
            distrust(layout, [PART])
    assert layout.parts() == [PART]
    assert part_stats(layout, PART)["counts"]["rejects"] == {"bad_json": 1}
    assert set_distrusted_aside(layout) == 1
    assert files(layout, "data", "_embed/stats", "_embed/rejects") == []
    assert json.loads(at(layout.slow_tokenizer).read_text()) == {"suspect": []}


def test_done_again_it_stays(layout: Layout) -> None:
    """A part that was made again under the name of a distrusted one is left alone, and so is an older note."""
    assert distrust(layout, [PART]) == 1
    write(layout, six_rows())
    assert set_distrusted_aside(layout) == 0
    at(layout.slow_tokenizer).write_text("")
    assert set_distrusted_aside(layout) == 0
    assert layout.parts() == [PART]
