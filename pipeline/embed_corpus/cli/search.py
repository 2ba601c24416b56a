"""`embed-corpus search`: ask the index a question."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

__all__ = ["command"]


@click.command("search")
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("query")
@click.option("-k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Chunks to show.")
@click.option("--model", metavar="NAME", help="Where the job's model lies now, if it has moved.")
@click.option("--prompt-name", metavar="NAME", help="The model's prompt of this name instead of the recorded one.")
@click.option("--prompt", metavar="TEXT", help="Put this before the query instead of the recorded prompt.")
@click.option("--instruction", metavar="TEXT", help="Tell the model the task: `Instruct: TEXT`, `Query:`.")
@click.option("--trust-remote-code", is_flag=True, help="Run the model's own Python code, as `run` was allowed to.")
def command(
    out: Path,
    query: str,
    k: int,
    model: str | None,
    prompt_name: str | None,
    prompt: str | None,
    instruction: str | None,
    *,
    trust_remote_code: bool,
) -> None:
    """Print the chunks of OUT that are nearest to QUERY: score, id, span, and the text if it was kept.

    \b
    embed-corpus search out/ "heat transfer in hypersonic flow" -k 5
    embed-corpus search out/ "x > 0" --instruction "Given a lemma, find its proof"

    The query gets the query prompt that the run recorded in OUT.
    """
    from embed_corpus.index.search import search
    from embed_corpus.job.model import Prompts
    from embed_corpus.job.query import embed_queries
    from embed_corpus.job.reopen import open_output

    if not query.strip():
        raise click.UsageError("the query is empty.")
    opened = open_output(out)
    prompts = Prompts(prompt_name, prompt, instruction)
    (hits,) = search(opened.layout, embed_queries(opened, [query], model, prompts, remote_code=trust_remote_code), k)
    width = max((len(hit.doc_id) for hit in hits), default=0)
    for hit in hits:
        line = f"{hit.score:.4f}  {hit.doc_id:<{width}}  [{hit.char_start}:{hit.char_end}]"
        snippet = " ".join((hit.text or "")[:400].split())
        columns = max(shutil.get_terminal_size((160, 24)).columns - len(line) - 2, 30)
        click.echo(line + (f"  {snippet[:columns]}" if snippet else ""))
