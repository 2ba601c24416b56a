"""JSON files of OUT: published once, or replaced whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embed_corpus.errors import OutputError
from embed_corpus.store.layout import Layout
from embed_corpus.store.notes import publish_json, read_json, replace_json
from kit.part_blocks import left_in
from kit.places import at


def test_a_note_is_published_once(layout: Layout) -> None:
    """The first stands, in a form that is part of what OUT is; no attempt is left."""
    assert publish_json(layout, layout.job, {"a": 1}) == "won"
    assert publish_json(layout, layout.job, {"a": 2}) == "lost"
    assert left_in(at(layout.tmp)) == []
    assert at(layout.job).read_text() == '{\n "a": 1\n}\n'


@pytest.mark.parametrize("function", [publish_json, replace_json])
def test_folder_that_cannot_be_made(tmp_path: Path, function: Callable[..., Any]) -> None:
    """An OUT that cannot be written is an error of OUT, not one of ours."""
    (tmp_path / "file").touch()
    layout = Layout(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match="file"):
        function(layout, layout.job, {})


def test_replace_json_replaces(layout: Layout) -> None:
    """A report may change: the last one counts, and is never seen half-written."""
    for value in (1, 2):
        replace_json(layout, layout.job, {"a": value})
    assert read_json(layout, layout.job) == {"a": 2}
    with pytest.raises(TypeError):
        replace_json(layout, layout.job, {"a": object()})
    assert read_json(layout, layout.job) == {"a": 2}
    assert left_in(at(layout.tmp)) == []
