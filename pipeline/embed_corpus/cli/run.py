"""`embed-corpus run`: the whole job in one command."""

from __future__ import annotations

import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from embed_corpus.cli._job_file import input_and_output, load_job_file
from embed_corpus.cli._options import shared
from embed_corpus.errors import Interrupted
from embed_corpus.model.facts import POOLINGS
from embed_corpus.source.formats.table import FORMATS
from embed_corpus.vectors.table import VECTOR_TYPES

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["command"]


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
    callback=load_job_file,
    help='Job file in TOML: the same keys as these flags, and input = [...], output = "...". Flags win.',
)
@click.option(
    "--model",
    metavar="NAME",
    help="Folder of a sentence-transformers model, or its hub id.  [default: the MiniLM of the demo extra]",
)
@click.option("--revision", metavar="COMMIT", help="Branch, tag or commit of a hub model.")
@click.option(
    "--trust-remote-code",
    is_flag=True,
    help="Run Python code that the model brings; a hub model needs --revision with a commit's 40 hex digits.",
)
@click.option(
    "--pooling",
    type=click.Choice(POOLINGS),
    help="For a model whose files do not say how a text's token states become its vector (normalised, then).",
)
@click.option("--prompt-name", metavar="NAME", help="The model's prompt to put before documents.  [default: document]")
@click.option("--prompt", metavar="TEXT", help="Put this before every document (each chunk of it).")
@click.option("--query-prompt", metavar="TEXT", help="Record this prompt: `search` puts it before every query.")
@click.option(
    "--instruction",
    metavar="TEXT",
    help="Record this task for queries: `search` then puts `Instruct: TEXT`, a new line and `Query:` before them.",
)
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    help="Read files of INPUT as this whose endings say nothing (`part-00000`).  [default: leave them out]",
)
@click.option(
    "--text-column",
    multiple=True,
    default=("text",),
    metavar="COLUMN",
    help="Column that holds the text, also one inside a struct (doc.text); repeatable: joined with a blank line, as a "
    "list of texts is.  [default: text]",
)
@click.option(
    "--id-column",
    metavar="COLUMN",
    help="Column that holds the document's id.  [default: made up: <path relative to INPUT>#<row>]",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="COLUMN",
    help="Input column, or key of folders such as lang=de/, to carry over into the parts; repeatable.",
)
@click.option(
    "--keep-type",
    multiple=True,
    metavar="COLUMN=TYPE",
    help="Keep a column as text, int64, double or bool; repeatable.  [default: the type that holds all its values]",
)
@click.option("--partition-types", is_flag=True, help="Kept keys of folders are whole numbers or dates where all are.")
@click.option(
    "--strict-schema",
    is_flag=True,
    help="Refuse files that lack a column (null there, otherwise) or have a kept one in another type (widened).",
)
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
    "--chunk-by",
    type=click.Choice(["tokens", "sentences", "paragraphs"]),
    default="tokens",
    show_default=True,
    help="Where a chunk ends: at the last word that fits, or the last sentence or paragraph, if one ends inside.",
)
@click.option(
    "--long",
    type=click.Choice(["split", "truncate"]),
    default="split",
    show_default=True,
    help="Documents over the limit: split into chunks, or cut off (counted).",
)
@click.option(
    "--late-chunking",
    is_flag=True,
    help="For long-context models with mean pooling: a document goes through the model whole, up to the model's limit, "
    "and each chunk's vector is the mean over its tokens there.",
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
    type=click.Choice(tuple(VECTOR_TYPES)),
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
@click.option(
    "--doc-vectors",
    type=click.Choice(["none", "mean"]),
    default="none",
    show_default=True,
    help="Write one vector a document to OUT/documents, too: the mean of its chunks, weighted by their tokens.",
)
@click.option("--limit", type=int, metavar="N", help="Stop after the first N rows of the input.")
@click.option(
    "--max-rejects",
    default="0.1%",
    show_default=True,
    metavar="SHARE",
    help="Rows that may be rejected (10 always may, up to half of all; empty texts do not count). 0: none.",
)
@click.option(
    "--max-bad-files",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Leave out up to N files that cannot be read at all: damaged, cut short, not what their name says. "
    "Each is named; once repaired, the next run embeds it.",
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
    "--strict",
    is_flag=True,
    help="No reject but empty texts, no file left out, no id twice, no column missing: --max-rejects 0 "
    "--max-bad-files 0 --on-duplicate error --strict-schema.",
)
@click.option(
    "--retry-rejects",
    is_flag=True,
    help="Try the rows again that were rejected (but for empty texts); what is embedded keeps its vectors.",
)
@click.option(
    "--on-duplicate",
    type=click.Choice(["report", "error", "ignore", "last"]),
    default="report",
    show_default=True,
    help="Ids that stand in several shards; within a shard later rows are rejects. last: of all rows of an id the "
    "newest alone stands, the last by path, then row, even if its text is empty (made-up ids never repeat).",
)
@click.option(
    "--index",
    default="none",
    show_default=True,
    metavar="TYPE",
    help="Build an index at the end: none, or what `embed-corpus index --type` takes: auto, flat, hnsw, ivf, ….",
)
@shared("max-memory", "target-recall")
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
    "--paranoid",
    is_flag=True,
    help="Compare the content of every source with what was embedded, also of files whose size and times stayed.",
)
@click.option(
    "--single-writer",
    is_flag=True,
    help="For file systems that can publish nothing atomically: no other run ever writes to OUT.",
)
@click.option("--quiet", is_flag=True, help="Only warnings and errors.")
@click.pass_context
def command(ctx: click.Context, /, paths: tuple[str, ...], *, quiet: bool, **options: Any) -> None:
    """Embed INPUT (files, folders, globs of Parquet or JSON lines, these also packed) into OUT.

    Stop it any time: what is finished is safe, and the same line goes on from there.

    \b
    embed-corpus run corpus/ out/
    embed-corpus run 'wiki/*.parquet' out/ --text-column title --text-column body --id-column id
    embed-corpus run --config jobs/nightly.toml --limit 1000

    OUT/data is a plain Parquet dataset with the columns doc_id, chunk_index, char_start,
    char_end, n_tokens, content_hash, kept columns, embedding. Everything else is in OUT/_embed.
    """
    from embed_corpus.execution.run import run
    from embed_corpus.execution.signals import SIGNALS
    from embed_corpus.job.config import JobConfig

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    if quiet:
        logging.getLogger("embed_corpus").setLevel(logging.WARNING)
    inputs, output = input_and_output(ctx, paths)
    report = run(JobConfig(input=inputs, output=output, **options), None if quiet else sys.stderr)
    if not quiet:
        click.echo("\n".join(report.lines()))
