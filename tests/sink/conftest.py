"""An OUT."""

from __future__ import annotations

from pathlib import Path

import pytest

from embed_corpus.store.layout import Layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty OUT."""
    return Layout(tmp_path / "out")
