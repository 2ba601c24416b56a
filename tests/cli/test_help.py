"""What the command tells of itself."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from embed_corpus import errors
from embed_corpus.cli import _COMMANDS
from kit.ended import Call

HEAVY = {"torch", "transformers", "tokenizers", "faiss", "numpy", "pyarrow", "huggingface_hub", "tqdm"}


def test_every_command_is_listed(call: Call) -> None:
    """`--help` names every command file with its summary, and the exit codes."""
    ended = call("--help")
    files = {file.stem for file in Path(errors.__file__).with_name("cli").glob("[!_]*.py")}
    assert (ended.code, set(_COMMANDS)) == (0, files)
    assert all(f"  {name} " in ended.out and summary in ended.out for name, summary in _COMMANDS.items())
    assert "75 interrupted" in ended.out


@pytest.mark.parametrize("command", ["", *_COMMANDS])
def test_every_command_has_help(call: Call, command: str) -> None:
    """Each command says how it is used and what each option does; no mark-up shows."""
    ended = call(*command.split(), "--help")
    assert ended.code == 0
    assert f" {command} [OPTIONS] ".replace("  ", " ") in ended.out.splitlines()[0]
    assert "\\b" not in ended.out
    assert "\x08" not in ended.out


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_option_has_help(name: str) -> None:
    """No option is without its sentence."""
    module = __import__(f"embed_corpus.cli.{name}", fromlist=["command"])
    options = [p for p in module.command.params if p.param_type_name == "option"]
    assert [option.name for option in options if not option.help.endswith((".", "]", ")"))] == []
    assert module.command.help


@pytest.mark.process
@pytest.mark.parametrize("args", ["--help", "--version", "run --help", "plan --help", "search --help"])
def test_help_is_light(args: str) -> None:
    """What only tells does so without the heavy libraries."""
    script = (
        "import sys; from embed_corpus.cli import main\n"
        "try: main()\n"
        "finally: print(','.join({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *args.split()], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.strip().split(","))
    assert "click" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.process
def test_help_is_quick() -> None:
    """`embed-corpus --help` answers in under a second."""

    def seconds() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "embed_corpus", "--help"], capture_output=True, check=True)
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(3)) < 1


@pytest.mark.parametrize("name", ["run", "plan", "index", "search", "evaluate", "advise", "status", "verify", "model"])
def test_readme_names_every_command_and_option(name: str) -> None:
    """What the command line offers, the README tells."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    command = importlib.import_module(f"embed_corpus.cli.{name}").command
    assert f"| `{name} " in readme
    if name == "run":
        for option in (p for p in command.params if isinstance(p, click.Option)):
            assert option.opts[-1] in readme, option.opts
