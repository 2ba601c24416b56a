"""Which index: by rows, dimension, memory and the recall asked for.

The rules are those of the FAISS wiki, "Guidelines to choose an index": exact while that is quick,
HNSW while memory is of no concern, else IVF with 4·√rows lists below a million rows and 65,536 and
more with an HNSW over them above. What differs, and why: HNSW only up to 200,000 rows, because its
graph is made in one go, in memory, for hours above; IVF holds 8-bit numbers (SQ8) rather than
floats, a quarter of the bytes to scan, as long as the recall asked for allows.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from embed_corpus.errors import UsageError

__all__ = ["Choice", "Request", "choices", "choose", "parse_bytes"]

POINTS_A_LIST = 50
"""Training vectors a list; FAISS warns below 39 and uses 256 at most."""
_EXACT_ROWS, _GRAPH_ROWS = 20_000, 200_000
_EXACT_BITS, _GRAPH_BITS = 200_000, 2_000_000
_LINKS = 32
_IN_RUNS = re.compile(r"(?:[^,]+,)*IVF\d+[^,]*,(?:Flat|SQ\w+|PQ\d+(?:x\d+)?(?:np)?)")
"""Inverted lists of plain codes: those of `effort.inverted`."""
_SQ8_REACHES, _PQ_REACHES = 0.98, 0.7
"""Recall@10 that these codes reach on text embeddings when every list is searched, about."""
_BASE = 200 << 20
"""Python, Arrow and FAISS themselves."""
_SAMPLES = 2.2
"""Times the sample is held while it trains: as it is, and as residuals or transformed."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for: type or FAISS factory string, bytes of memory, recall@10, GPU (auto, on, off).

    Raises:
        UsageError: a value that cannot be.
    """

    type: str = "auto"
    max_memory: int = 8 << 30
    target_recall: float = 0.95
    gpu: str = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.target_recall <= 1:
            raise UsageError(f"--target-recall {self.target_recall}: give a share above 0, 1 at most.")
        if self.max_memory < 256 << 20:
            raise UsageError(f"--max-memory {self.max_memory >> 20}MB: at least 256MB are needed.")

    @property
    def sample_bytes(self) -> int:
        """Bytes of vectors to train on, at most: a twelfth of the memory is left to the centroids."""
        return int((self.max_memory - _BASE) / (_SAMPLES + 0.2))

    @property
    def at_once(self) -> int:
        """Bytes of runs that are merged at a time."""
        return self.max_memory // 16


@dataclass(frozen=True, slots=True)
class Choice:
    """An index to build, or to extend.

    Attributes:
        factory: FAISS factory string.
        why: one sentence.
        n_lists: inverted lists, 0 without.
        n_train: vectors to train on, at most.
        n_bytes: of the finished index in memory.
        peak: bytes of memory that building takes, about.
        training: of them what training takes, whatever is on disk; 0 where an index is extended or built in memory.
        on_disk: inverted lists are merged into a file of their own.
    """

    factory: str
    why: str
    n_lists: int
    n_train: int
    n_bytes: int
    peak: int
    on_disk: bool = False
    training: int = 0

    @property
    def in_runs(self) -> bool:
        """Whether it is built run by run, and its lists can be merged on disk; all else is built in memory."""
        return _IN_RUNS.fullmatch(self.factory) is not None

    @property
    def family(self) -> str:
        """flat, hnsw, ivf or other."""
        names = (("ivf", "IVF"), ("hnsw", "HNSW"), ("flat", "Flat"))
        return next((family for family, mark in names if mark in self.factory), "other")


def parse_bytes(text: str) -> int:
    """Parse 8GB, 512MB or 1.5GiB to bytes; a thousand is 1,024 here.

    Raises:
        UsageError: it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B?", text.strip(), re.IGNORECASE)
    if not match:
        raise UsageError(f"--max-memory {text!r}: give a size such as 8GB or 512MB.")
    return int(float(match[1]) * 1024 ** (" KMGT".index(match[2].upper())))


def choose(rows: int, dim: int, request: Request, *, binary: bool = False, held: int = 0) -> Choice:
    """Choose the index for `rows` vectors; a factory string is taken as it is.

    `held` are the bytes in memory of an index that it shall extend: its lists stay until the merged ones are there.

    Raises:
        UsageError: what was asked for does not fit the memory allowed, and what would.
    """
    kind = request.type
    if kind == "auto":
        kind, why = _auto(rows, dim, request, binary=binary)
    else:
        why = "as asked for"
    choice = _binary(kind, why, rows, dim, request) if binary else _floats(kind, why, rows, dim, request, held)
    needed = choice.training if choice.in_runs else choice.peak
    if needed > request.max_memory:
        raise UsageError(
            f"an index {choice.factory} of {rows:,} vectors takes about {needed / (1 << 30):.1f} GiB of memory to "
            f"build: `embed-corpus index OUT --type {choice.factory} --max-memory "
            f"{math.ceil(needed / (1 << 30))}GB` if there is as much, else --type ivf."
        )
    return choice


def choices(rows: int, dim: int, request: Request, *, binary: bool = False) -> list[Choice]:
    """Return what is chosen, and behind it what auto takes instead, in this order, where that misses the recall.

    Raises:
        UsageError: as `choose`.
    """
    found = [choose(rows, dim, request, binary=binary)]
    if request.type != "auto" or found[0].family == "flat":
        return found
    for kind, target in (("ivf", request.target_recall), ("ivf", 1.0), ("flat", 1.0)):
        try:
            other = choose(rows, dim, replace(request, type=kind, target_recall=target), binary=binary)
        except UsageError:  # it does not fit the memory
            continue
        if other.factory not in {choice.factory for choice in found}:
            found.append(replace(other, why=f"{found[-1].factory} misses the recall asked for"))
    return found


def _auto(rows: int, dim: int, request: Request, *, binary: bool) -> tuple[str, str]:
    exact, graph = (_EXACT_BITS, _GRAPH_BITS) if binary else (_EXACT_ROWS, _GRAPH_ROWS)
    if rows <= exact:
        return "flat", f"up to {exact:,} vectors an exact search takes milliseconds"
    each = (dim // 8 if binary else 4 * dim) + 8 * _LINKS + 8
    if rows <= graph and 1.3 * rows * each + _BASE <= request.max_memory:
        return "hnsw", f"up to {graph:,} vectors a graph in memory is quickest to search"
    if rows * (dim // 4 + 8) * 2 > request.max_memory and request.target_recall <= _PQ_REACHES and not binary:
        return "ivfpq", "codes of product quantisation fit the memory, and reach the recall asked for"
    return "ivf", f"above {graph:,} vectors, or what memory holds, inverted lists: built part by part, merged on disk"


def _lists(rows: int, dim: int, request: Request) -> tuple[int, str]:
    """Return the number of lists and how they are found; as many as can be trained within the memory."""
    if rows <= 2_000_000:
        wanted = 2 ** max(4, round(math.log2(4 * math.sqrt(max(rows, 1)))))
    else:
        wanted = 65_536 if rows <= 10_000_000 else 262_144 if rows <= 100_000_000 else 1_048_576
    while wanted > 1 and wanted * POINTS_A_LIST > min(rows, request.sample_bytes // (4 * dim)):
        wanted //= 2
    return wanted, "_HNSW32" if wanted >= 65_536 else ""


def _floats(kind: str, why: str, rows: int, dim: int, request: Request, held: int) -> Choice:
    if kind == "flat":
        size = rows * dim * 4
        return Choice("Flat", why, 0, 0, size, 2 * size + _BASE)
    if kind == "hnsw":
        size = rows * (dim * 4 + 8 * _LINKS + 8)
        return Choice(f"HNSW{_LINKS}", why, 0, 0, size, int(1.3 * size) + _BASE)
    n_lists, over = _lists(rows, dim, request)
    if kind == "ivf":
        codes = "SQ8" if request.target_recall <= _SQ8_REACHES else "Flat"
        kind = f"IVF{n_lists}{over},{codes}"
    elif kind == "ivfpq":
        m = next(m for m in (dim // 4, dim // 8, dim // 16, 1) if m and dim % m == 0)
        kind = f"IVF{n_lists}{over},PQ{m}x{_pq_bits(rows)}"
    return _own(kind, why, rows, dim, request, held)


def _pq_bits(rows: int) -> int:
    """Return the bits of a code, 8, or fewer where there are not so many vectors to train on as codes."""
    return max(4, min(8, int(0.9 * rows).bit_length() - 1))


def _own(factory: str, why: str, rows: int, dim: int, request: Request, held: int) -> Choice:
    """Reckon with a factory string of the user's own as far as it tells."""
    sample_dim = dim
    if transformed := re.match(r"(?:PCAW?R?|RR|OPQ\d+_)(\d+),", factory):
        dim = int(transformed[1])
    found = re.search(r"IVF(\d+)", factory)
    n_lists = int(found[1]) if found else 0
    pq = re.search(r",PQ(\d+)(?:x(\d+))?", f",{factory.rsplit('IVF', 1)[-1]}")
    sq = re.search(r"SQ(?:fp|bf)?(\d+)", factory)
    code = math.ceil(int(pq[1]) * int(pq[2] or 8) / 8) if pq else dim * int(sq[1] if sq else 32) // 8
    n_train = min(rows, max(POINTS_A_LIST * n_lists, min(20_000, request.sample_bytes // (4 * sample_dim))))
    sample = n_train * sample_dim * 4
    size = rows * (code + 8 + (8 * _LINKS if "HNSW" in factory and not n_lists else 0)) + n_lists * dim * 4
    building = _BASE + int(_SAMPLES * sample) + 3 * n_lists * dim * 4
    if _IN_RUNS.fullmatch(factory):
        on_disk = size + held + _BASE > 0.8 * request.max_memory
        merging = min(size, 2 * request.at_once)  # what was read, and the same sorted
        peak = max(building, _BASE + held + merging + (0 if on_disk else size))
        return Choice(factory, why, n_lists, n_train, size, peak, on_disk, 0 if held else building)
    return Choice(factory, why, n_lists, n_train, size, building + int(1.3 * size))


def _binary(kind: str, why: str, rows: int, dim: int, request: Request) -> Choice:
    n_lists, _ = _lists(rows, dim, request)
    factory = {"flat": "BFlat", "hnsw": f"BHNSW{_LINKS}", "ivf": f"BIVF{n_lists}"}.get(kind, kind)
    if not factory.startswith("B"):
        raise UsageError(
            f"--type {kind}: over ubinary vectors there are auto, flat, hnsw, ivf and FAISS' B… factories."
        )
    graph = 8 * _LINKS + 8 if "HNSW" in factory else 0
    lists = int(found[1]) if (found := re.search(r"IVF(\d+)", factory)) else 0
    size = rows * (dim // 8 + graph + (8 if lists else 0))
    return Choice(factory, why, lists, min(rows, POINTS_A_LIST * lists), size, 2 * size + _BASE)
