"""Edits in place, at random: `PYTHONPATH=tests python -m edits 500` makes more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edits import MODES, fuzz


@pytest.mark.heavy
def test_no_edit_in_place_goes_unnoticed(tiny_model: Path, tmp_path: Path) -> None:
    """Whatever of size, times and footer stays, an edit leads to the vectors of a clean run, and a touch to nothing."""
    counts = fuzz(8 * len(MODES), tmp_path, tiny_model)
    assert counts["edits"] == 8 * len(MODES)
    assert counts["footer and size kept"] > 0, "the edits did not hide"
    assert counts["unnoticed without --paranoid, no time telling"] > 0, "the times told"
    assert counts["tokens taken over"] > 0
    assert {name: counts[name] for name in ("not noticed", "not as a clean run", "touched and embedded again")} == {
        "not noticed": 0,
        "not as a clean run": 0,
        "touched and embedded again": 0,
    }
