"""The user's cache folder: kernels, token budgets, speeds and weight hashes are kept there between runs."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["cache_folder", "keep", "keep_kernels"]


def cache_folder() -> Path:
    """Return the folder; it need not exist, and without a home it lies under the temporary folder."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        base = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return base / "embed-corpus"


def keep(file: Path, content: str) -> None:
    """Write a file of the cache, ASCII, whole or not at all; one that cannot be written costs seconds, not the run."""
    fresh = file.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(content, encoding="ascii")
        fresh.replace(file)


def keep_kernels() -> None:
    """Let compiled kernels be kept between runs, in the user's cache folder; call before torch is imported."""
    for variable, name in (("TRITON_CACHE_DIR", "triton"), ("TORCHINDUCTOR_CACHE_DIR", "inductor")):
        folder = cache_folder() / name
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            return  # no home to write to: torch's own default, under /tmp
        if not os.access(folder, os.W_OK):
            return
        os.environ.setdefault(variable, str(folder))
