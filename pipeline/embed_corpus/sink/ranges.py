"""The ranges of int8 vectors, as OUT keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embed_corpus.errors import OutputError
from embed_corpus.store.notes import read_json
from embed_corpus.vectors.ranges import MADE_AGAIN, Ranges

if TYPE_CHECKING:
    from embed_corpus.store.layout import Layout

__all__ = ["read_ranges"]


def read_ranges(layout: Layout, dim: int) -> Ranges:
    """Read the ranges of an OUT.

    Raises:
        OutputError: the file is damaged.
    """
    file = layout.ranges
    try:
        ranges = Ranges.from_json(read_json(layout, file))
        sound = (dim,) == ranges.minimum.shape == ranges.maximum.shape and not (ranges.minimum > ranges.maximum).any()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{file} cannot be read ({error}): {MADE_AGAIN}") from error
    if not sound:
        raise OutputError(f"{file} does not hold the ranges of {dim} dimensions: {MADE_AGAIN}")
    return ranges
