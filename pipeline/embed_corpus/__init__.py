"""embed-corpus: corpora into vectors and an index, offline, exactly once, to the same bytes.

Every command is a function, in a script and in a notebook alike; each returns what it found, typed, and raises the
errors of `embed_corpus.errors`, which can be imported from here, too.

>>> import embed_corpus
>>> job = embed_corpus.JobConfig(input=("corpus/",), output="out/", index="auto")
>>> print(embed_corpus.plan(job).tokens)  # doctest: +SKIP
>>> report = embed_corpus.run(job)  # doctest: +SKIP
>>> assert embed_corpus.verify("out/").ok  # doctest: +SKIP
>>> result = embed_corpus.open_result("out/")  # loads index and model once  # doctest: +SKIP
>>> for hit in result.search("heat transfer in hypersonic flow", k=5):  # doctest: +SKIP
...     print(f"{hit.score:.3f} {hit.doc_id}")

`run` starts its workers as processes of their own, which import nothing of the caller: no `if __name__ == "__main__"`
is needed. All else happens in the caller's process.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embed_corpus.errors import (
        BudgetError,
        DataError,
        EmbedCorpusError,
        Interrupted,
        LaneError,
        ModelError,
        OutputError,
        StoreError,
        UsageError,
    )
    from embed_corpus.execution.run import run
    from embed_corpus.job.config import JobConfig
    from embed_corpus.report.plan import PlanReport
    from embed_corpus.report.summary import RunReport
    from embed_corpus.verbs.advise import Advice, advise
    from embed_corpus.verbs.bench import BenchReport, bench
    from embed_corpus.verbs.evaluate import Evaluation, evaluate
    from embed_corpus.verbs.index import IndexReport, build_index
    from embed_corpus.verbs.model import ModelDescription, describe_model
    from embed_corpus.verbs.plan import plan
    from embed_corpus.verbs.repair import Repair, repair
    from embed_corpus.verbs.search import Hit, Result, open_result, search
    from embed_corpus.verbs.status import Status, rejects, status
    from embed_corpus.verbs.verify import Check, Verification, verify

__all__ = [
    "Advice",
    "BenchReport",
    "BudgetError",
    "Check",
    "DataError",
    "EmbedCorpusError",
    "Evaluation",
    "Hit",
    "IndexReport",
    "Interrupted",
    "JobConfig",
    "LaneError",
    "ModelDescription",
    "ModelError",
    "OutputError",
    "PlanReport",
    "Repair",
    "Result",
    "RunReport",
    "Status",
    "StoreError",
    "UsageError",
    "Verification",
    "__version__",
    "advise",
    "bench",
    "build_index",
    "describe_model",
    "evaluate",
    "open_result",
    "plan",
    "rejects",
    "repair",
    "run",
    "search",
    "status",
    "verify",
]

__version__ = "0.1.0"

_HOMES = {
    "errors": (
        "BudgetError",
        "DataError",
        "EmbedCorpusError",
        "Interrupted",
        "LaneError",
        "ModelError",
        "OutputError",
        "StoreError",
        "UsageError",
    ),
    "execution.run": ("run",),
    "job.config": ("JobConfig",),
    "report.plan": ("PlanReport",),
    "report.summary": ("RunReport",),
    "verbs.advise": ("Advice", "advise"),
    "verbs.bench": ("BenchReport", "bench"),
    "verbs.evaluate": ("Evaluation", "evaluate"),
    "verbs.index": ("IndexReport", "build_index"),
    "verbs.model": ("ModelDescription", "describe_model"),
    "verbs.plan": ("plan",),
    "verbs.repair": ("Repair", "repair"),
    "verbs.search": ("Hit", "Result", "open_result", "search"),
    "verbs.status": ("Status", "rejects", "status"),
    "verbs.verify": ("Check", "Verification", "verify"),
}
"""Which module holds each public name; it is imported when the name is asked for: `import embed_corpus` is light."""


if not TYPE_CHECKING:  # else a type checker would take any name for one of ours

    def __getattr__(name: str) -> Any:
        for module, names in _HOMES.items():
            if name in names:
                found = globals()[name] = getattr(import_module(f"embed_corpus.{module}"), name)
                return found
        raise AttributeError(f"module 'embed_corpus' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
