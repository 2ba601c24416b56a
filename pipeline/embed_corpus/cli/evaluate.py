"""`embed-corpus evaluate`: search quality against judgements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from embed_corpus.cli._options import query_options

__all__ = ["command"]


@click.command("evaluate")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="JSONL or Parquet with the columns id and text.",
)
@click.option(
    "--qrels",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Judgements: TREC's `query 0 document relevance`, or TSV `query document relevance`.",
)
@query_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(out: Path, queries: Path, qrels: Path, *, as_json: bool, **asked: Any) -> None:
    """Judge the search in OUT: nDCG@10, recall@100 and MRR@10, each document ranked by its best chunk,
    by exact search and through the index side by side, so that you see what the index costs.

    \b
    embed-corpus evaluate out/ --queries queries.jsonl --qrels qrels.tsv
    """  # noqa: D205
    import json
    from dataclasses import asdict

    from embed_corpus.verbs.evaluate import evaluate

    result = evaluate(out, queries, qrels, **asked)
    if as_json:
        click.echo(json.dumps(asdict(result)))
        return
    left = f"; {result.n_unjudged:,} without a relevant document are left out" if result.n_unjudged else ""
    left += f"; {result.n_unknown:,} relevant documents are not in {out}" if result.n_unknown else ""
    click.echo(f"{result.n_queries:,} queries{left}\n{'':<12}{'exact':>8}  {result.index:>12}")
    for name, exact in result.exact.items():
        click.echo(f"{name:<12}{exact:>8.4f}  {result.through_index[name]:>12.4f}")
