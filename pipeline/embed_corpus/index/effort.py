"""How hard an index looks: lists visited (IVF), candidates kept (HNSW); nothing for an exact one."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

__all__ = ["TUNED_FOR", "Effort", "deep_enough", "effort_of", "full_search", "inner", "inverted", "tune"]

TUNED_FOR = 10
"""Results of a search whose recall is what an index is tuned to."""

_MOST_EF = 4096


@dataclass(frozen=True)
class Effort:
    """The one number of an index that trades time for recall: `name` of `owner`, at most `most`."""

    owner: Any
    name: str
    most: int

    @property
    def value(self) -> int:
        """As it is set."""
        return int(getattr(self.owner, self.name))

    def set(self, value: int) -> None:
        """Set it, within what makes sense."""
        setattr(self.owner, self.name, max(1, min(value, self.most)))


def inner(index: Any) -> Any:
    """Return what lies below transforms and refinements."""
    import faiss

    while isinstance(index, faiss.IndexPreTransform | faiss.IndexRefine):
        index = faiss.downcast_index(index.index if isinstance(index, faiss.IndexPreTransform) else index.base_index)
    return index


def inverted(index: Any) -> Any:
    """Return the index itself below its transforms if it keeps inverted lists of plain codes, else None."""
    import faiss

    found = inner(index)
    plain = (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer, faiss.IndexIVFPQ)
    refined = isinstance(index, faiss.IndexRefine)
    return found if type(found) in plain and not refined else None  # subclasses keep more than codes


def effort_of(index: Any) -> Effort | None:
    """Return the number to turn, None for an index without."""
    import faiss

    found = inner(index)
    if isinstance(found, faiss.IndexIVF | faiss.IndexBinaryIVF):
        return Effort(found, "nprobe", int(found.nlist))
    if isinstance(found, faiss.IndexHNSW | faiss.IndexBinaryHNSW):
        return Effort(found.hnsw, "efSearch", _MOST_EF)
    return None


@contextmanager
def deep_enough(index: Any, k: int) -> Iterator[None]:
    """Let an index look hard enough for `k` results; afterwards it is as it was.

    A walk over HNSW's graph ends by efSearch alone, whatever k. It is raised in proportion, and to half as much
    again as k at least: recall@100 was 0.93 at 100 and 0.96 at 150, over graphs that had recall@10 of 0.95 at 4
    (20,000 and 50,000 vectors of 48 numbers). Lists grow with the root of k: over 512 lists of 40,000 vectors that had
    recall@10 of 0.96, recall@100 and @1000 were 0.87 and 0.39, then 0.96 and 0.94.
    """
    effort = effort_of(index)
    tuned = effort.value if effort else 0
    if effort and k > TUNED_FOR:
        more = k / TUNED_FOR
        effort.set(math.ceil(tuned * math.sqrt(more) if effort.name == "nprobe" else max(tuned * more, 1.5 * k)))
    try:
        yield
    finally:
        if effort:
            effort.set(tuned)


def full_search(
    index: Any, queries: NDArray[Any], k: int, among: NDArray[np.bool_] | None = None
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Search for `k` results, and harder where less is found, of rows that are `among`, bool[rows]; sets the effort.

    The fewer there are among which to look, the more lists are visited. A graph's walk may end before it comes to
    one: its vectors are searched exactly then.

    Raises:
        RuntimeError: FAISS cannot search the index, or not among some rows.
    """
    import faiss

    if among is not None and isinstance(index, faiss.IndexHNSW):
        index = faiss.downcast_index(index.storage)
    effort = effort_of(index)
    wider = len(among) / max(int(among.sum()), 1) if among is not None else 1.0
    most = effort.most if effort else 0
    raw, rows = index.search(queries, k, params=_parameters(index, among, wider))
    while effort and effort.value * wider < most and (short := rows[:, -1] < 0).any():
        effort.set(4 * effort.value)
        raw[short], rows[short] = index.search(queries[short], k, params=_parameters(index, among, wider))
    return raw, rows


def _parameters(index: Any, among: NDArray[np.bool_] | None, wider: float) -> Any:
    """Return FAISS' parameters for a search among some rows, `wider` than the effort that is set."""
    import faiss

    if among is None:
        return None
    bits = np.packbits(among, bitorder="little")
    selector = faiss.IDSelectorBitmap(bits)
    selector.bits = bits  # FAISS keeps a pointer
    effort = effort_of(index)
    value = min(effort.most, int(effort.value * wider)) if effort else 0
    if effort is None:
        parameters = faiss.SearchParameters(sel=selector)
    elif effort.name == "nprobe":
        parameters = faiss.SearchParametersIVF(sel=selector, nprobe=value)
    else:
        parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=value)
    return _handed_down(index, parameters)


def _handed_down(index: Any, parameters: Any) -> Any:
    """Wrap parameters for what lies below transforms and refinements."""
    import faiss

    if isinstance(index, faiss.IndexPreTransform):
        below = _handed_down(faiss.downcast_index(index.index), parameters)
        return faiss.SearchParametersPreTransform(index_params=below)
    if isinstance(index, faiss.IndexRefine):
        below = _handed_down(faiss.downcast_index(index.base_index), parameters)
        return faiss.IndexRefineSearchParameters(k_factor=index.k_factor, base_index_params=below)
    return parameters


def tune(effort: Effort, recall: Callable[[], float], target: float, margin: float = 0.0) -> None:
    """Set the least effort that reaches the target and a margin above it.

    Half of the margin there is, where the greatest reaches no more; nearly what the greatest gives, where that is
    less than the target. Candidates of a graph are 16 at least, FAISS' own default.
    """
    floor, steps = 0 if effort.name == "nprobe" else 15, 4
    low, high = floor, floor + 1
    asked, target = target, min(target + margin, 1.0)
    effort.set(high)
    while (seen := recall()) < target:
        if high >= effort.most:  # the codes lose more than that: the last percent is not worth every list
            low, target, steps = floor, (asked + seen) / 2 if seen >= asked else 0.99 * seen, 12
            break
        low, high = high, min(2 * high, effort.most)
        effort.set(high)
    for _ in range(steps):
        middle = (low + high) // 2
        if middle in {low, high}:
            break
        effort.set(middle)
        low, high = (low, middle) if recall() >= target else (middle, high)
    effort.set(high)
