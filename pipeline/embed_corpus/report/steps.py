"""Progress of work that is counted in rows: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

__all__ = ["steps"]

log = logging.getLogger("embed_corpus")

_LINE_SECONDS = 10.0
T = TypeVar("T")


def steps(items: Iterable[T], total: int, rows_of: Callable[[T], int], what: str, stream: TextIO | None) -> Iterator[T]:
    """Pass items on, and show how many of `total` rows are done with those that were passed on before."""
    bar = None
    if stream is not None and stream.isatty():
        from tqdm import tqdm

        bar = tqdm(total=total, file=stream, unit="row", unit_scale=True, desc=what, dynamic_ncols=True, leave=False)
    done, last = 0, time.perf_counter()
    try:
        for item in items:
            yield item
            done += rows_of(item)
            if bar is not None:
                bar.update(rows_of(item))
            elif (now := time.perf_counter()) - last >= _LINE_SECONDS:
                last = now
                log.info("%s: %s of %s rows (%.0f %%)", what, f"{done:,}", f"{total:,}", 100 * done / max(total, 1))
    finally:
        if bar is not None:
            bar.close()
