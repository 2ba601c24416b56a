"""Every error a caller may catch, each with the exit code the command ends with.

```
EmbedCorpusError           1   something of ours went wrong: a bug, please report it
├── UsageError             2   the command, the job file or OUT does not fit what was asked
├── ModelError             2   the model cannot be loaded, or not be loaded right
├── BudgetError            3   finished, but more rows were rejected than the error budget allows
├── DataError              4   an input is missing, unreadable or lacks a column
├── OutputError           74   OUT cannot be written, or what was written cannot be read back
├── Interrupted           75   stopped from outside; the same line again goes on
├── LaneError             75   a fast tokenizer differs; the same line again goes on without it
└── StoreError            78   OUT's file system cannot publish a file atomically
```

A message names the file (and row, where there is one) and says what to do. A bad row is no
error: it becomes a reject, a bad shard becomes a failed shard, and only a bad run raises.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "DataError",
    "EmbedCorpusError",
    "Interrupted",
    "LaneError",
    "ModelError",
    "OutputError",
    "StoreError",
    "UsageError",
]


class EmbedCorpusError(Exception):
    """Root of the tree; raised itself only for an error of ours."""

    exit_code = 1


class UsageError(EmbedCorpusError):
    """The command, the job file or OUT does not fit what was asked."""

    exit_code = 2


class ModelError(EmbedCorpusError):
    """The model cannot be loaded, or not so that its vectors would be right."""

    exit_code = 2


class BudgetError(EmbedCorpusError):
    """The run finished, but rejected more rows than the error budget allows."""

    exit_code = 3


class DataError(EmbedCorpusError):
    """An input is missing, unreadable or lacks a column."""

    exit_code = 4


class OutputError(EmbedCorpusError):
    """OUT cannot be written, or what was written cannot be read back."""

    exit_code = 74


class Interrupted(EmbedCorpusError):  # noqa: N818  # a state, not a fault
    """The run was stopped from outside; the same line again goes on. `told` is what it then says first."""

    exit_code = 75
    told = "stopped: finished parts are safe, run the same line again to go on."


class LaneError(EmbedCorpusError):
    """A fast tokenizer was found to differ from Hugging Face's in mid-run; the same line again goes on without it."""

    exit_code = 75


class StoreError(EmbedCorpusError):
    """OUT's file system cannot publish a file atomically."""

    exit_code = 78


def error_named(name: str, message: str) -> EmbedCorpusError:
    """Rebuild an error that crossed a process boundary as its class name and text."""
    found = globals().get(name)
    if isinstance(found, type) and issubclass(found, EmbedCorpusError):
        return found(message)
    return EmbedCorpusError(message)
