"""`embed-corpus run`: the whole job in one command."""

from __future__ import annotations

import difflib
import logging
import os
import signal
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from embed_corpus.errors import Interrupted, UsageError

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["command"]


def _load_toml(ctx: click.Context, _: click.Parameter, file: Path | None) -> None:
    """Make a job file's keys the defaults of the flags of the same name."""
    if file is None:
        return
    try:
        content = tomllib.loads(file.read_text(encoding="utf8"))
    except OSError as error:
        raise UsageError(f"--config {file}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--config {file} is no valid TOML: {error}.") from error
    flags = {p.opts[-1].lstrip("-"): p for p in ctx.command.params if isinstance(p, click.Option)}
    keys = [key for key in flags if key != "config"] + ["input", "output"]
    for key in content:
        if key not in keys:
            close = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(keys))}."
            raise UsageError(f"--config {file}: unknown key {key!r}; {hint}")
    ctx.obj = {key: content.pop(key) for key in ("input", "output") if key in content}
    ctx.obj["folder"] = file.parent
    model = content.get("model")
    if isinstance(model, str) and (model.startswith(".") or (file.parent / model).is_dir()):
        content["model"] = str(file.parent / model)
    for key, param in flags.items():
        if param.type is click.INT and isinstance(content.get(key), float):  # click would cut it down to a whole one
            raise UsageError(f"--config {file}: {key} = {content[key]}: give a whole number.")
    ctx.default_map = {str(flags[key].name): value for key, value in content.items()}


def _paths(ctx: click.Context, paths: tuple[str, ...]) -> tuple[tuple[str, ...], Path]:
    """Tell INPUT and OUT: both from the command line, or both from the job file (relative to it)."""
    if len(paths) > 1:
        return paths[:-1], Path(paths[-1])
    if paths:
        raise UsageError("give INPUT and OUT, or neither and both in --config.")
    job = ctx.obj or {}
    inputs, output = job.get("input"), job.get("output")
    if not isinstance(inputs, list) or not isinstance(output, str) or not all(isinstance(i, str) for i in inputs):
        raise UsageError(
            'INPUT and OUT are missing: embed-corpus run INPUT... OUT, or input = ["…"] and output = "…" in --config.'
        )
    folder: Path = job["folder"]

    def beside(text: str) -> str:
        return os.path.normpath(folder / Path(text).expanduser())

    return tuple(map(beside, inputs)), Path(beside(output))


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    """End at once, while planning or publishing: nothing half-done is visible.

    No exception, because some code that may be under way swallows one, with a traceback.
    """
    os.write(2, f"\n{Interrupted.told}\n".encode())
    os._exit(Interrupted.exit_code)


@click.command("run")
@click.argument("paths", nargs=-1, metavar="INPUT... OUT")
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_load_toml,
    help='Job file in TOML: the same keys as these flags, and input = [...], output = "...". Flags win.',
)
@click.option(
    "--model",
    metavar="NAME",
    help="Folder of a sentence-transformers model, or its hub id.  [default: the MiniLM of the demo extra]",
)
@click.option("--revision", metavar="COMMIT", help="Branch, tag or commit of a hub model.")
@click.option(
    "--text-column",
    multiple=True,
    default=("text",),
    metavar="COLUMN",
    help="Column that holds the text; repeatable: joined with a blank line.  [default: text]",
)
@click.option(
    "--id-column",
    metavar="COLUMN",
    help="Column that holds the document's id.  [default: made up: <path relative to INPUT>#<row>]",
)
@click.option("--keep", multiple=True, metavar="COLUMN", help="Input column to carry over into the parts; repeatable.")
@click.option("--keep-text", is_flag=True, help="Keep each chunk's text as column `text`; search shows it.")
@click.option(
    "--chunk-tokens",
    type=int,
    metavar="N",
    help="Tokens of a chunk at most, special tokens included.  [default: the model's limit, 512 at most]",
)
@click.option(
    "--chunk-overlap",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Tokens that a chunk repeats of the one before, at most.",
)
@click.option(
    "--long",
    type=click.Choice(["split", "truncate"]),
    default="split",
    show_default=True,
    help="Documents over the limit: split into chunks, or cut off (counted).",
)
@click.option(
    "--devices",
    default="all",
    show_default=True,
    metavar="all|cpu|0,1",
    help="Where to run: every GPU (else the CPU), the CPU, or these GPUs. cpu,cpu: two workers that divide the cores.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "fp16", "bf16", "fp8"]),
    default="auto",
    show_default=True,
    help="Arithmetic of the model. auto: fp32 on a CPU; fp16 (BERT's family) or bf16 on a GPU. "
    "fp8: what it costs is measured first, on your texts.",
)
@click.option("--force-fp8", is_flag=True, help="Use fp8 even where it costs much.")
@click.option(
    "--batch-tokens",
    type=int,
    metavar="N",
    help="Tokens of a batch.  [default: measured once for model and GPU; 1024 on a CPU]",
)
@click.option(
    "--loader-workers",
    type=int,
    metavar="N",
    help="Processes a GPU that read ahead and tokenise; 0: none.  [default: as many as it needs; none for a CPU]",
)
@click.option(
    "--fast-tokenizer/--no-fast-tokenizer",
    default=True,
    help="In loader processes tokenise with what the extra `fast` brings, where it gives the same tokens.",
)
@click.option(
    "--compile/--no-compile", default=True, help="Fuse or compile the model's layers; without, for debugging."
)
@click.option(
    "--vector-type",
    type=click.Choice(["float32", "float16", "int8", "ubinary"]),
    default="float32",
    show_default=True,
    help="Numbers in the parts. int8: 256 steps between the extremes of a sample; ubinary: one bit a dimension. "
    "What that costs is measured and told at the end.",
)
@click.option(
    "--dim",
    type=int,
    metavar="N",
    help="Cut vectors to their first N numbers and scale them to unit length again, where the model was trained for "
    "that (Matryoshka).  [default: all]",
)
@click.option("--force-dim", is_flag=True, help="Cut them even where the model's files name no such dimension.")
@click.option("--limit", type=int, metavar="N", help="Stop after the first N rows of the input.")
@click.option(
    "--max-rejects",
    default="0.1%",
    show_default=True,
    metavar="SHARE",
    help="Rows that may be rejected (10 always may; empty texts do not count). 0: none.",
)
@click.option(
    "--reject-bytes",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Put the first N bytes of a rejected text on record with it (1024 at most).",
)
@click.option(
    "--strict", is_flag=True, help="No reject but empty texts, no id twice: --max-rejects 0 --on-duplicate error."
)
@click.option(
    "--retry-rejects",
    is_flag=True,
    help="Do the shards again that had rejects; empty texts are no reason.",
)
@click.option(
    "--on-duplicate",
    type=click.Choice(["report", "error", "ignore"]),
    default="report",
    show_default=True,
    help="Ids that stand in several shards. Within a shard later rows are always rejects.",
)
@click.option(
    "--index",
    default="none",
    show_default=True,
    metavar="TYPE",
    help="Build an index at the end: none, or what `embed-corpus index --type` takes: auto, flat, hnsw, ivf, ….",
)
@click.option(
    "--grace",
    type=float,
    default=25.0,
    show_default=True,
    metavar="SECONDS",
    help="At SIGTERM, Ctrl-C or SIGUSR1 finish the shards under way that take no longer than this; 0: drop them. "
    "A second signal drops them too.",
)
@click.option("--overwrite", is_flag=True, help="If OUT holds the result of another job, delete that first.")
@click.option("--prune", is_flag=True, help="Set parts aside whose input is gone or has changed.")
@click.option(
    "--single-writer",
    is_flag=True,
    help="For file systems that can publish nothing atomically: no other run ever writes to OUT.",
)
@click.option("--quiet", is_flag=True, help="Only warnings and errors.")
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[str, ...], *, quiet: bool, **options: Any) -> None:
    """Embed INPUT (files, folders, globs of .parquet, .jsonl, .ndjson, the latter two also .gz or .zst) into OUT.

    Stop it any time: what is finished is safe, and the same line goes on from there.

    \b
    embed-corpus run corpus/ out/
    embed-corpus run 'wiki/*.parquet' out/ --text-column title --text-column body --id-column id
    embed-corpus run --config jobs/nightly.toml --limit 1000

    OUT/data is a plain Parquet dataset with the columns doc_id, chunk_index, char_start,
    char_end, n_tokens, content_hash, kept columns, embedding. Everything else is in OUT/_embed.
    """
    from embed_corpus.job.config import JobConfig
    from embed_corpus.job.run import run
    from embed_corpus.job.signals import SIGNALS

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    if quiet:
        logging.getLogger("embed_corpus").setLevel(logging.WARNING)
    inputs, output = _paths(ctx, paths)
    report = run(JobConfig(input=inputs, output=output, **options), None if quiet else sys.stderr)
    if not quiet:
        click.echo("\n".join(report.lines()))
