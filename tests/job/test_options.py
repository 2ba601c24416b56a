"""Options are declared once: flags, job files, checks and the reference page come from their fields."""

from __future__ import annotations

from dataclasses import fields
from inspect import get_annotations
from pathlib import Path
from typing import Any

import click
import pytest

from embed_corpus.cli._options import job_options
from embed_corpus.errors import UsageError
from embed_corpus.job.config import GROUPS, JobConfig
from embed_corpus.job.options.option import arguments_of, options_of
from options_page import PAGE, page


def test_every_field_is_an_option_of_one_group() -> None:
    """No field of a job lacks its declaration, and none stands in two groups."""
    names = [name for group in GROUPS for name in get_annotations(group)]
    assert sorted(names) == sorted(field.name for field in fields(JobConfig)) == sorted(options_of(JobConfig))


def test_reference_page() -> None:
    """docs/options.md says what is declared; else: `python tests/options_page.py`."""
    assert PAGE.read_text(encoding="utf8") == page()


def test_flags_of_each_command() -> None:
    """`run` takes every option but INPUT and OUT; `plan` and `bench` those that say so, with the same defaults."""
    taken = {command: job_options(command) for command in ("run", "plan", "bench")}
    assert {option.name for option in taken["run"]} == set(options_of(JobConfig)) - {"input", "output"}
    defaults = {field.name: field.default for field in fields(JobConfig)}
    for command, options in taken.items():
        for option in options:
            assert option.default == defaults[str(option.name)], (command, option.name)
    assert {"chunk_tokens", "devices"} <= {option.name for option in taken["bench"]}
    assert len(taken["bench"]) < len(taken["plan"]) < len(taken["run"])


def test_switch_that_is_on_has_an_opposite() -> None:
    """A switch that is on by default can be turned off; one that is off has no opposite."""
    switches = {option.name: option for option in job_options("run") if isinstance(option, click.Option)}
    assert switches["compile"].secondary_opts == ["--no-compile"]
    assert switches["keep_text"].secondary_opts == []


def test_positional_in_python() -> None:
    """Input, output and model may be given without their names; all others need them."""
    config = JobConfig(("in",), "out", "model", chunk_tokens=32)
    assert (config.input, config.output, config.model, config.chunk_tokens) == (("in",), Path("out"), "model", 32)
    with pytest.raises(TypeError):
        JobConfig(("in",), "out", "model", "main")


def test_a_job_may_lack_out_and_input() -> None:
    """A job without OUT can be planned, and one without INPUT measured; to run it has to have both."""
    assert JobConfig(("in",)).output is None
    assert JobConfig(model="m").input == ()
    with pytest.raises(UsageError, match="no OUT"):
        JobConfig(("in",)).out  # noqa: B018
    with pytest.raises(UsageError, match="no INPUT"):
        JobConfig((), "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"model": "m", "text_column": ("a", "-b")}, ["--text-column=a", "--text-column=-b", "--model=m"]),
        ({"compile": False, "trust_remote_code": True, "overwrite": True}, ["--no-compile", "--trust-remote-code"]),
    ],
)
def test_a_job_as_flags_is_the_same_job(options: dict[str, Any], words: list[str]) -> None:
    """Options that are not at their defaults are written as flags of a command that takes them, and read back."""
    config = JobConfig(**options)
    written = arguments_of(config, "bench")
    assert sorted(written) == sorted(words)
    parsed = click.Command("bench", params=job_options("bench")).make_context("bench", written).params
    assert parsed == {name: getattr(config, name) for name in parsed}


def test_a_declaration_is_all_there_is_to_write() -> None:
    """Each declaration is an annotation with one sentence at least, and says whether more than `run` takes it."""
    for each in options_of(JobConfig).values():
        assert each.option.help.endswith((".", "…"))
        assert set(each.option.also.split()) <= {"plan", "bench"}
