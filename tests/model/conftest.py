"""Models are computed on one thread."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _one(one_thread: None) -> None: ...
