"""What a user asks for: one frozen record of five groups of options, the same from flags, a TOML file and Python."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embed_corpus.errors import UsageError
from embed_corpus.job.options.chunking import Chunking, check_chunking
from embed_corpus.job.options.forms import MAY_BE_NUMBERS, wanted_form
from embed_corpus.job.options.input import Input, check_input
from embed_corpus.job.options.model import Model, check_model
from embed_corpus.job.options.option import options_of
from embed_corpus.job.options.output import Output, check_output
from embed_corpus.job.options.runtime import Runtime, check_runtime

__all__ = ["GROUPS", "JobConfig"]

GROUPS = (Input, Model, Chunking, Output, Runtime)
"""The groups of options, in the order in which they are told."""
_STRICT = {"max_rejects": "0", "max_bad_files": 0, "on_duplicate": "error", "strict_schema": True}


@dataclass(frozen=True)
class JobConfig(Runtime, Chunking, Model, Output, Input):  # the fields of the last come first: input, output, model
    """One job: where its input lies and where its result goes, its model, and the options of `embed-corpus run`.

    All are given flat, by the names of the flags: `JobConfig(input=("corpus/",), output="out/", chunk_tokens=256)`;
    docs/options.md tells each. A job without OUT can be planned, not run; `bench` does without INPUT, too.

    Raises:
        UsageError: an option has a value that cannot be, or two contradict each other.
    """

    def __post_init__(self) -> None:
        self._check_forms()
        self._check_values()
        if self.output is not None and not self.input:
            raise UsageError("no INPUT: name files, folders or globs to read.")
        if self.strict:
            for name, value in _STRICT.items():
                object.__setattr__(self, name, value)
        check_input(self)
        check_model(self)
        check_chunking(self)
        check_output(self)
        check_runtime(self)

    def _check_forms(self) -> None:
        """Check that each value is of its field's kind; paths may be told as `Path`, several texts as a list."""
        if isinstance(self.input, list | tuple):
            object.__setattr__(self, "input", tuple(map(_text_of, self.input)))
        object.__setattr__(self, "model", _text_of(self.model))
        for name, declared in options_of(JobConfig).items():
            value = getattr(self, name)
            if value is None and declared.default is None:
                continue
            if wrong := wanted_form(name, declared.kind, value):
                raise UsageError(f"{name}: {wrong}.")
            if declared.kind is tuple:
                object.__setattr__(self, name, tuple(value))
            elif name in MAY_BE_NUMBERS:
                object.__setattr__(self, name, str(value))
            texts = value if declared.kind is tuple else [value]
            if any("\0" in str(text) for text in texts):
                raise UsageError(f"{name}: the text holds a NUL character: take it out.")
        if self.output is not None:
            object.__setattr__(self, "output", Path(self.output))

    def _check_values(self) -> None:
        """Check that numbers lie within their bounds and texts are among their choices."""
        for name, declared in options_of(JobConfig).items():
            value, option, flag = getattr(self, name), declared.option, f"--{declared.key}"
            if value is None:
                continue
            if option.least is not None and value < option.least:
                raise UsageError(f"{flag} {value}: must be at least {option.least}.")
            if option.most is not None and value > option.most:
                raise UsageError(f"{flag} {value}: must be at most {option.most:,}.")
            if declared.choices and value not in declared.choices:
                raise UsageError(f"{flag} {value!r}: choose one of {', '.join(declared.choices)}.")


def _text_of(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value
