"""`embed-corpus status`: how far a result is."""

from __future__ import annotations

import json
from pathlib import Path

import click

__all__ = ["command"]


@click.command("status")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--rejects", is_flag=True, help="List every rejected row instead, one JSON object a line.")
def command(out: Path, *, rejects: bool) -> None:
    """Tell how far the result in OUT is: parts done and left, rows, rejects. Takes no lock.

    \b
    embed-corpus status out/
    embed-corpus status out/ --rejects | head
    """
    from embed_corpus.data import Counts
    from embed_corpus.index.manifest import parts_of, read_manifest
    from embed_corpus.job.output import open_output
    from embed_corpus.report.summary import bad_file_lines, count_lines, unknown_line
    from embed_corpus.sink.rejects import read_rejects
    from embed_corpus.sink.snapshot import entries, latest_snapshot

    opened = open_output(out)
    present = set(opened.layout.parts())
    done = [shard for shard in opened.plan.shards if shard.part_name in present]
    if rejects:
        for shard in done:
            for reject in read_rejects(opened.layout, shard.id):
                click.echo(json.dumps(reject, ensure_ascii=False))
        return
    left = opened.plan.rows - sum(shard.n_rows for shard in done)
    click.echo(f"{len(done)} of {len(opened.plan.shards)} parts done, {left:,} of {opened.plan.rows:,} rows left")
    parts = entries(opened.layout, [shard.part_name for shard in done])
    click.echo("\n".join(count_lines(sum((part.counts for part in parts), start=Counts()))))
    if unknown := unknown_line(sum((part.counts for part in parts), start=Counts())):
        click.echo(unknown)
    for line in bad_file_lines(opened.noted.get("bad_files", {})):
        click.echo(line)
    snapshot, index = latest_snapshot(opened.layout), read_manifest(opened.layout)
    click.echo(f"snapshot: {snapshot.number if snapshot else 'none yet'}")
    if index:
        current = snapshot is not None and parts_of(index) == {part.name: part.sha256 for part in snapshot.parts}
        stale_note = "" if current else f", of snapshot {index['snapshot']}: out of date, see `embed-corpus index`"
        click.echo(f"index: {index['type']} of {index['rows']:,} vectors{stale_note}")
    else:
        click.echo("index: none")
    if stale := present - {shard.part_name for shard in opened.plan.shards}:
        click.echo(f"{len(stale)} parts are not of the current plan (--prune sets them aside)")
