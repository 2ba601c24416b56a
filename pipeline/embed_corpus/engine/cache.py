"""The user's cache folder: kernels, token budgets and weight hashes are kept there between runs."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "keep_kernels"]


def cache_folder() -> Path:
    """Return the folder; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "embed-corpus"


def keep_kernels() -> None:
    """Let compiled kernels be kept between runs, in the user's cache folder; call before torch is imported."""
    for variable, name in (("TRITON_CACHE_DIR", "triton"), ("TORCHINDUCTOR_CACHE_DIR", "inductor")):
        folder = cache_folder() / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            return  # no home to write to: torch's own default, under /tmp
        os.environ.setdefault(variable, str(folder))
