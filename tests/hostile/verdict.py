"""What becomes of a folder; as a script, in a process of its own: `verdict.py FOLDER` prints it and the peak memory."""

from __future__ import annotations

import json
import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from embed_corpus.errors import DataError
from embed_corpus.source.columns import Columns
from embed_corpus.source.discover import discover
from embed_corpus.source.plan import inspect_all, kept_types, make_plan
from embed_corpus.source.read import LARGE, read_shard


@dataclass
class Verdict:
    """An error's message, or what came out: texts in order (their first 99 characters), rejects by reason."""

    error: str = ""
    texts: list[str] = field(default_factory=list)
    rejects: dict[str, int] = field(default_factory=dict)
    each_row_once: bool = False


def judge(folder: Path, columns: Columns, between: Callable[[Path], object] | None = None) -> Verdict:
    """Find, inspect, plan and read a folder, in blocks as for a GPU; let errors of other kinds through."""
    verdict, rows, planned = Verdict(), defaultdict(list), Counter()
    reasons: Counter[str] = Counter()
    try:
        sources = inspect_all(discover([str(folder)], folder / "out")[0], columns)
        types = kept_types(sources, columns)
        shards = make_plan(sources, "job").shards
        if between:
            between(folder)
        for shard in shards:
            planned[shard.source] += shard.n_rows
            for block in read_shard(shard, columns, types, LARGE):
                block.table.validate(full=True)
                verdict.texts += [text[:99] for text in block.table["text"].to_pylist()]
                rows[shard.source] += [*block.rows.tolist(), *(reject.row for reject in block.rejects)]
                reasons.update(reject.reason for reject in block.rejects)
    except DataError as error:
        return Verdict(str(error))
    verdict.rejects = dict(reasons)
    verdict.each_row_once = all(sorted(rows[source]) == list(range(n)) for source, n in planned.items())
    return verdict


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))  # a bomb that goes off harms nobody else
    found = judge(Path(sys.argv[1]), Columns(("text",)))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    json.dump([asdict(found), int(peak.split()[1]) >> 10], sys.stdout)
