"""`embed-corpus search`: ask the index questions."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embed_corpus.cli._options import query_options
from embed_corpus.errors import UsageError

if TYPE_CHECKING:
    from embed_corpus.verbs.search import By, Hit

__all__ = ["command"]


@click.command("search")
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("query", nargs=-1)
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ask all queries of a JSONL or Parquet file, with the columns text and (if you like) id.",
)
@click.option(
    "-k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Chunks (or documents) to show."
)
@click.option(
    "--by",
    type=click.Choice(["chunk", "document"]),
    default="chunk",
    show_default=True,
    help="Show the best chunks, or of each document its best chunk alone.",
)
@click.option(
    "--where",
    multiple=True,
    metavar="'COLUMN OP VALUE'",
    help="Search only among chunks whose kept column meets this: OP is =, ==, !=, <, <=, >, >=, in, not in; or "
    "'COLUMN is null', 'COLUMN is not null'. Without a value a row meets no other. A point in time without a zone is "
    "taken in the column's. Several: all of them.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "parquet"]),
    default="table",
    show_default=True,
    help="What to print; json is one object a hit and line.",
)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write it there; parquet needs that.")
@query_options
def command(
    out: Path,
    query: tuple[str, ...],
    queries: Path | None,
    k: int,
    by: By,
    where: tuple[str, ...],
    form: str,
    output: Path | None,
    **asked: Any,
) -> None:
    """Print the chunks of OUT that are nearest to each QUERY: score, id, span, and the text if it was kept.

    \b
    embed-corpus search out/ "heat transfer in hypersonic flow" -k 5
    embed-corpus search out/ --queries questions.jsonl --by document --format parquet --output hits.parquet
    embed-corpus search out/ "x > 0" --instruction "Given a lemma, find its proof"
    embed-corpus search out/ "Wärmeleitung" --where 'lang = de' --where 'year > 1960'

    Queries get the query prompt that the run recorded in OUT. One that is longer than the model takes is cut,
    with a warning.
    """
    from embed_corpus.verbs.queries import read_queries
    from embed_corpus.verbs.search import open_result

    if bool(query) == bool(queries):
        raise click.UsageError("give a QUERY, several, or --queries FILE.")
    if form == "parquet" and output is None:
        raise click.UsageError("--format parquet needs --output FILE.")
    if not all(text.strip() for text in query):
        raise click.UsageError("the query is empty.")
    ids, texts = read_queries(queries) if queries else ([str(i) for i in range(len(query))], list(query))
    found = open_result(out, **asked).search_all(texts, k, by=by, where=where, names=ids)
    if form == "parquet":
        assert output is not None
        _write_parquet(output, ids, found)
        return
    lines = [f"{line}\n" for line in (_json(ids, found) if form == "json" else _table(texts, found))]
    if output is None:
        click.echo("".join(lines), nl=False)
        return
    try:
        output.write_text("".join(lines), encoding="utf8")
    except OSError as error:
        raise UsageError(f"--output {output}: {error.strerror}.") from error


def _columns(ids: list[str], found: list[list[Hit]]) -> dict[str, list[object]]:
    flat = [(name, rank, hit) for name, hits in zip(ids, found, strict=True) for rank, hit in enumerate(hits, 1)]
    names = ("score", "doc_id", "chunk_index", "char_start", "char_end", "text")
    columns: dict[str, list[object]] = {"query": [q for q, _, _ in flat], "rank": [rank for _, rank, _ in flat]}
    return columns | {name: [getattr(hit, name) for _, _, hit in flat] for name in names}


def _json(ids: list[str], found: list[list[Hit]]) -> list[str]:
    import json

    columns = _columns(ids, found)
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    readable = sys.stdout.encoding.lower().startswith("utf")  # else escapes, which are JSON anywhere
    return [json.dumps(row, ensure_ascii=not readable) for row in rows]


def _write_parquet(file: Path, ids: list[str], found: list[list[Hit]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number = pa.string(), pa.int64()
    types = (text, pa.int32(), pa.float32(), text, pa.int32(), number, number, text)
    columns = _columns(ids, found)
    try:
        with file.open("wb") as target:
            pq.write_table(pa.table(columns, schema=pa.schema(list(zip(columns, types, strict=True)))), target)
    except OSError as error:
        raise UsageError(f"--output {file}: {error}.") from error


def _table(texts: list[str], found: list[list[Hit]]) -> list[str]:
    lines: list[str] = []
    for text, hits in zip(texts, found, strict=True):
        if len(texts) > 1:
            lines += ["", " ".join(text.split())] if lines else [" ".join(text.split())]
        width = max((len(hit.doc_id) for hit in hits), default=0)
        lines += [] if hits else ["nothing found"]
        for hit in hits:
            line = f"{hit.score:.4f}  {hit.doc_id:<{width}}  [{hit.char_start}:{hit.char_end}]"
            snippet = " ".join((hit.text or "")[:400].split())
            columns = max(shutil.get_terminal_size((160, 24)).columns - len(line) - 2, 30)
            lines.append(line + (f"  {snippet[:columns]}" if snippet else ""))
    return lines
