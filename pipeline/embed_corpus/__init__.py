"""embed-corpus: corpora into vectors and an index, offline, exactly once, to the same bytes.

>>> from pathlib import Path
>>> from embed_corpus import JobConfig, run
>>> report = run(JobConfig(input=("corpus/",), output=Path("out/")))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embed_corpus.execution.run import run
    from embed_corpus.job.config import JobConfig
    from embed_corpus.report.summary import RunReport

__all__ = ["JobConfig", "RunReport", "__version__", "run"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for, so that `import embed_corpus` stays light."""
    from importlib import import_module

    homes = {"JobConfig": "job.config", "RunReport": "report.summary", "run": "execution.run"}
    if name in homes:
        return getattr(import_module(f"embed_corpus.{homes[name]}"), name)
    raise AttributeError(f"module 'embed_corpus' has no attribute {name!r}")
