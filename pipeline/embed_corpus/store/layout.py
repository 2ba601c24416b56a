"""Where things lie in OUT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embed_corpus.store.base import Key
from embed_corpus.store.commit import attempt, sweep
from embed_corpus.store.local import Folder
from embed_corpus.store.paths import check_utf8

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from embed_corpus.store.base import Store

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The names in one OUT, and the store that keeps it; `data/` alone is a plain Parquet dataset.

    `alone`: no other run writes there, says the user.

    Raises:
        UsageError: the path is no UTF-8.
    """

    root: Path
    alone: bool = False

    def __post_init__(self) -> None:
        check_utf8("OUT", self.root)

    @property
    def store(self) -> Store:
        """What OUT is kept in."""
        return Folder(self.root, self.alone)

    @property
    def out(self) -> Key:
        """OUT itself."""
        return Key(str(self.root))

    @property
    def data(self) -> Key:
        """Parts: presence under the final name is the commit."""
        return Key(str(self.root), "data")

    @property
    def documents(self) -> Key:
        """One file a part, of its name: a vector for each document (--doc-vectors)."""
        return Key(str(self.root), "documents")

    @property
    def index(self) -> Key:
        """The FAISS index, its ids and index.json."""
        return Key(str(self.root), "index")

    @property
    def meta(self) -> Key:
        """Everything else; never a file ending in .parquet."""
        return Key(str(self.root), "_embed")

    @property
    def job(self) -> Key:
        """The fields of the job this OUT belongs to; written once."""
        return self.meta / "job.json"

    @property
    def current_run(self) -> Key:
        """What the last run noted: its plan, and where model and input lie; replaced by each."""
        return self.meta / "run.json"

    @property
    def plans(self) -> Key:
        """One immutable file a plan, named by its content."""
        return self.meta / "plans"

    @property
    def newest(self) -> Key:
        """One immutable file a plan: which of its rows a later one supersedes (--on-duplicate last); a cache."""
        return self.meta / "newest"

    @property
    def sources(self) -> Key:
        """What was seen of the source files; a cache."""
        return self.meta / "sources.json"

    @property
    def ranges(self) -> Key:
        """Between which numbers int8 vectors of this OUT lie; published once."""
        return self.meta / "ranges.json"

    @property
    def snapshots(self) -> Key:
        """Numbered lists of parts; the highest number is current."""
        return self.meta / "snapshots"

    @property
    def stats(self) -> Key:
        """One JSON file a part: counts and checksum; a cache, rebuilt from the part."""
        return self.meta / "stats"

    @property
    def rejects(self) -> Key:
        """One JSONL file (zstd) a shard that had rejects."""
        return self.meta / "rejects"

    @property
    def indexing(self) -> Key:
        """What an index is being made of; empty when it is there."""
        return self.meta / "indexing"

    @property
    def runs(self) -> Key:
        """One report a run."""
        return self.meta / "runs"

    @property
    def claims(self) -> Key:
        """One file a shard that a run works on; advice for other runs on this OUT."""
        return self.meta / "claims"

    @property
    def superseded(self) -> Key:
        """Parts that a later plan no longer has, with notes and records, set aside by --prune."""
        return self.meta / "superseded"

    @property
    def quarantine(self) -> Key:
        """Parts, notes and records set aside to be done again: damaged, with rejects, by a wrong fast tokenizer."""
        return self.meta / "quarantine"

    @property
    def slow_tokenizer(self) -> Key:
        """Stands there if a fast tokenizer was found to differ on this corpus: none is used any more, its parts go."""
        return self.meta / "slow-tokenizer"

    @property
    def tmp(self) -> Key:
        """Attempts."""
        return self.meta / "tmp"

    def parts(self) -> list[str]:
        """Names of the committed parts, sorted: one listing, no file opened."""
        return [name for name in self.store.list(self.data) if name.endswith(".parquet")]

    def attempt(self, name: str) -> AbstractContextManager[Path]:
        """Give a fresh file for one attempt at what is put under a name later; see `commit.attempt`."""
        return attempt(self.store.local(self.tmp), name)

    def sweep(self) -> int:
        """Remove what killed attempts left behind; returns how many."""
        return sweep(self.store.local(self.tmp))
