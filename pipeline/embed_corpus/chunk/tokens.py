"""Tokens as flat arrays, and what a lane that makes them has to offer."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "Encoded",
    "JoinedWords",
    "KnownWords",
    "LaneDiffersError",
    "Tokens",
    "Words",
    "described",
    "join",
    "stretches",
]


class LaneDiffersError(Exception):
    """A fast lane gave other tokens than Hugging Face; never leaves this package."""


class Words(Protocol):
    """Where words begin among a text's tokens; token 0 and the end always count as such places."""

    def before(self, at: int) -> int:
        """Return the last word edge at or before token `at`."""
        ...

    def after(self, at: int) -> int:
        """Return the first word edge at or after token `at`."""
        ...


class KnownWords:
    """Word edges that were all found beforehand, from word_edge bool[n]."""

    def __init__(self, word_edge: NDArray[np.bool_]) -> None:
        self.edges = np.concatenate([[0], np.flatnonzero(word_edge[1:]) + 1, [len(word_edge)]])

    def before(self, at: int) -> int:
        """Return the last word edge at or before token `at`."""
        return int(self.edges[self.edges.searchsorted(at, "right") - 1])

    def after(self, at: int) -> int:
        """Return the first word edge at or after token `at`."""
        return int(self.edges[self.edges.searchsorted(at)])


class JoinedWords:
    """Word edges of texts laid end to end; a word ends with its text."""

    def __init__(self, parts: Sequence[Words], sizes: Sequence[int]) -> None:
        self._parts = parts
        self._begins = [0, *np.cumsum(sizes).tolist()]

    def before(self, at: int) -> int:
        """Return the last word edge at or before token `at`."""
        part, begin = self._at(at)
        return begin + part.before(at - begin)

    def after(self, at: int) -> int:
        """Return the first word edge at or after token `at`."""
        part, begin = self._at(at)
        return begin + part.after(at - begin)

    def _at(self, at: int) -> tuple[Words, int]:
        i = min(bisect_right(self._begins, at), len(self._parts)) - 1
        return self._parts[i], self._begins[i]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Where the tokens of one text lie, special tokens left out.

    Attributes:
        starts: int64[n], first character of each token, in code points.
        char_edge: bool[n], no character is shared with the token before.
        words: where words begin; each such place is a `char_edge`.
    """

    starts: NDArray[np.int64]
    char_edge: NDArray[np.bool_]
    words: Words

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The tokens of some texts laid end to end, special tokens left out.

    Most texts fit into a window, which needs no more than their ids: where a text's tokens lie
    is only worked out by `tokens`.

    Attributes:
        texts: the texts.
        ids: int32[T].
        edges: int64[n + 1], first token of each text, then the end of the last.
        tokens: gives the `Tokens` of a text by its number here.

    Raises:
        LaneDiffersError: by `tokens`, if a fast lane turns out wrong.
    """

    texts: Sequence[str]
    ids: NDArray[np.int32]
    edges: NDArray[np.int64]
    tokens: Callable[[int], Tokens]


def described(text: str) -> str:
    """Return what may be said about a text in a log: not what it says."""
    return f"a text of {len(text):,} characters (blake2b {blake2b(text.encode(), digest_size=16).hexdigest()})"


def stretches(begin: NDArray[np.int64], length: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of stretches laid end to end: b, b + 1, … b + n - 1 for each b, n."""
    return np.repeat(begin - (np.cumsum(length) - length), length) + np.arange(length.sum())


def join(slabs: Sequence[tuple[str, Tokens]]) -> Tokens:
    """Return the tokens of a text from those of its consecutive pieces."""
    begins = np.cumsum([0, *(len(text) for text, _ in slabs)])
    tokens = [t for _, t in slabs]
    return Tokens(
        np.concatenate([t.starts + begin for t, begin in zip(tokens, begins[:-1], strict=True)]),
        np.concatenate([t.char_edge for t in tokens]),
        JoinedWords([t.words for t in tokens], [len(t) for t in tokens]),
    )
