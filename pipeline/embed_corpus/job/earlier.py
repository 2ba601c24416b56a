"""Parts of earlier runs whose vectors a shard may take over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from embed_corpus.sink.readback import cached_stats

if TYPE_CHECKING:
    from embed_corpus.store.base import Key
    from embed_corpus.store.layout import Layout

__all__ = ["Earlier", "Replaced"]


@dataclass(frozen=True, slots=True)
class Earlier:
    """A part whose vectors may be taken over: where it lies, and what was noted at its commit."""

    layout: Layout
    key: Key
    sha256: str
    numerics: str
    cut_words: int = 0


@dataclass(frozen=True, slots=True)
class Replaced:
    """A part that still lies in data/, and leaves when the result is published; its note lies where it did."""

    layout: Layout
    name: str

    def earlier(self) -> Earlier:
        """Return what is noted of it.

        Raises:
            ValueError: nothing is.
        """
        stats = cached_stats(self.layout, self.name)
        if stats is None:
            raise ValueError("there is no note of it")
        words = stats["counts"]["cut_words"]
        return Earlier(self.layout, self.layout.data / self.name, stats["sha256"], stats.get("numerics", ""), words)
