"""The command line: one file a command, imported when it is called."""

from __future__ import annotations

import importlib
import io
import logging
import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

import click

from embed_corpus import __version__
from embed_corpus.errors import EmbedCorpusError, Interrupted, OutputError
from embed_corpus.report.clean import CleanFormatter, clean

__all__ = ["cli", "main"]

_COMMANDS = {
    "run": "Embed a corpus: Parquet and JSONL in, vectors and an index out.",
    "plan": "Say what a run would take: documents, tokens, bytes, time.",
    "index": "Build an index over a result, or extend it; measure it.",
    "search": "Ask the index questions.",
    "evaluate": "Judge the search by relevance judgements.",
    "advise": "Try dimensions, vector types and indexes on a sample.",
    "status": "Tell how far a result is: parts, rows, rejects.",
    "bench": "Measure the model on this machine; prove its bits.",
    "model": "Say what a model is, what its files ask for, and how it runs here.",
    "verify": "Check a result: counts, files, vectors, a sample embedded again.",
}


class _LazyGroup(click.Group):
    """Knows its commands by name and summary; `--help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"embed_corpus.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="embed-corpus")
def cli() -> None:
    """Turn a corpus into embedding vectors and a searchable index.

    \b
    embed-corpus plan corpus/                      what it would take
    embed-corpus run corpus/ out/ --index flat     embed; stop it any time, run the same line again
    embed-corpus search out/ "how do I …?"         ask
    embed-corpus verify out/                       check

    \b
    Exit codes: 0 done, 1 internal error, 2 usage or model, 3 too many rejects, 4 bad input,
    74 cannot write, 75 interrupted (run the same line again), 78 OUT cannot publish atomically.
    """


def main() -> NoReturn:
    """Run the command line; every known error ends in one message and its exit code."""
    handler = logging.StreamHandler()
    handler.setFormatter(CleanFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("embed_corpus").setLevel(logging.INFO)
    _mend_streams()
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.default_int_handler)
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except Interrupted as error:
        click.echo(f"\n{error}", err=True)
        sys.exit(error.exit_code)
    except EmbedCorpusError as error:
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(clean(str(error)), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(clean(f"error: {where}{error.strerror or error}"), err=True)
        _drop_unprinted()
        sys.exit(OutputError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"\n{Interrupted.told}", err=True)
        sys.exit(Interrupted.exit_code)
    sys.exit(0)


def _mend_streams() -> None:
    """Let any text be printed, in whatever encoding, and let files be opened where a stream was closed."""
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:  # else a part would be opened there, and printed into
        pass
    os.close(free)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_unprinted() -> None:
    """Let Python not try again, with a traceback, to print what the disk behind stdout has no room for."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
        return
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
