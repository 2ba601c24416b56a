"""The table of vector types, by the names that sentence-transformers gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from embed_corpus.vectors.base import VectorType

__all__ = ["VECTOR_TYPES", "vector_type"]


def _float32() -> VectorType:
    from embed_corpus.vectors.float32 import Float32

    return Float32()


def _float16() -> VectorType:
    from embed_corpus.vectors.float16 import Float16

    return Float16()


def _int8() -> VectorType:
    from embed_corpus.vectors.int8 import Int8

    return Int8()


def _ubinary() -> VectorType:
    from embed_corpus.vectors.ubinary import Ubinary

    return Ubinary()


VECTOR_TYPES: dict[str, Callable[[], VectorType]] = {
    "float32": _float32,
    "float16": _float16,
    "int8": _int8,
    "ubinary": _ubinary,
}
"""Every vector type and what makes it, from the one that loses least to the one that loses most.

A new one is a module, and an entry here. The names cost nothing to import, the rest NumPy and Arrow.
"""


def vector_type(name: str) -> VectorType:
    """Return the vector type of a name, one of `VECTOR_TYPES`."""
    return VECTOR_TYPES[name]()
