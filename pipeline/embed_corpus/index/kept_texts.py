"""The texts of chunks, where a run kept them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embed_corpus.index.manifest import check_parts
from embed_corpus.index.rows import damaged
from embed_corpus.sink.readback import open_part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from embed_corpus.sink.snapshot import PartEntry
    from embed_corpus.store.layout import Layout

__all__ = ["kept_texts"]


def kept_texts(layout: Layout, parts: Iterable[PartEntry], chunks: list[dict[str, Any]]) -> list[str | None]:
    """Fetch the texts of chunks, told by `part` and `row`: each row group that holds some is read once.

    None where a part has no column `text`.

    Raises:
        UsageError: a part was made again since the snapshot. OutputError: a part is damaged.
    """
    texts: list[str | None] = [None] * len(chunks)
    found_in = {ids["part"] for ids in chunks}
    for entry in (part for part in parts if part.name in found_in):
        wanted = {i: ids["row"] for i, ids in enumerate(chunks) if ids["part"] == entry.name}
        try:
            with open_part(layout, layout.data / entry.name) as file:
                if "text" not in file.schema_arrow.names:
                    continue
                check_parts(layout, [entry])
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
                ends = np.cumsum(sizes)
                groups = {i: int(np.searchsorted(ends, row, side="right")) for i, row in wanted.items()}
                for group in sorted(set(groups.values())):
                    column = file.read_row_group(group, columns=["text"])["text"]
                    for i in (i for i, g in groups.items() if g == group):
                        texts[i] = column[wanted[i] - int(ends[group] - sizes[group])].as_py()
        except (OSError, IndexError, pa.ArrowException) as error:
            raise damaged(layout, entry.name, error) from error
    return texts
