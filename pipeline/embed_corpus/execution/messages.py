"""What parent and workers tell each other beside a run's events: plain values that cross the process boundary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embed_corpus.chunk.recipe import ChunkRecipe
    from embed_corpus.data import Shard
    from embed_corpus.engine.base import EncoderSpec
    from embed_corpus.job.earlier import Earlier, Replaced
    from embed_corpus.sink.parts import PartFormat
    from embed_corpus.source.columns import Columns
    from embed_corpus.store.layout import Layout

__all__ = ["Alive", "Broken", "Next", "Unwell", "WorkerSpec"]


@dataclass(frozen=True)
class WorkerSpec:
    """Everything a worker needs, as plain values: it crosses the process boundary once.

    `cores` are those it may use; `loader_workers` None: as many as its device needs; from the shards of the
    `calibration` int8 has its ranges, by a sample drawn with the (hex) `seed`; `earlier`, by shard id, parts whose
    vectors may be taken over.
    """

    encoder: EncoderSpec
    cores: frozenset[int]
    loader_workers: int | None
    columns: Columns
    recipe: ChunkRecipe
    samples: tuple[Shard, ...]
    form: PartFormat
    calibration: tuple[Shard, ...]
    seed: str
    layout: Layout
    earlier: dict[str, tuple[Earlier | Replaced, ...]]

    @property
    def device(self) -> str:
        """The encoder's: what the worker is called by."""
        return self.encoder.device


@dataclass(frozen=True, slots=True)
class Alive:
    """A worker has begun, or got on since it last said so; it says so by this where nothing else comes of it."""


@dataclass(frozen=True, slots=True)
class Next:
    """A worker asks for a shard."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A worker cannot go on: an error of `errors.py` by name, or a traceback."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Unwell:
    """A worker's device failed in a way that the process does not get over; it ends, and another may try."""

    text: str
