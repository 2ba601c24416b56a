"""Where sentences and paragraphs end in a text, by simple rules that need no language."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from embed_corpus.chunk.tokens import Tokens

__all__ = ["Breaks", "breaks_of"]

_SPACED = ".!?…‼⁇⁈⁉؟۔।॥።፧။៕"  # noqa: RUF001  # the Arabic full stop, meant
"""What ends a sentence where white space or the end of the text follows."""
_BARE = "。！？｡"  # noqa: RUF001  # full-width marks, meant
"""What ends one whatever follows: Chinese and Japanese have no spaces."""
_CLOSING = "\"'\\])}»›”’」』】）〉》"  # noqa: RUF001  # meant, too
# Possessive, and begun only where a run of marks begins: a million dots shall not take a million squared steps.
_SENTENCE = re.compile(
    rf"(?<![{_SPACED}{_BARE}])(?:[{_SPACED}]*+[{_BARE}][{_SPACED}{_BARE}]*+[{_CLOSING}]*+"
    rf"|[{_SPACED}]++[{_CLOSING}]*+(?=\s|\Z))(\s*+)"
)
_PARAGRAPH = re.compile(r"\u2029\s*+|\n[^\S\n]*+\n\s*+")


@dataclass(frozen=True, slots=True)
class Breaks:
    """Places in a text where one sentence or paragraph has ended and the next has not begun; both int64[n], ascending.

    Attributes:
        ends: first character behind what ends there.
        begins: first character of what begins, the white space between them passed.
    """

    ends: NDArray[np.int64]
    begins: NDArray[np.int64]

    def last(self, tokens: Tokens, begin: int, full: int) -> int | None:
        """Return the last token after `begin`, `full` at most, that begins a word at a break, if any does."""
        i = int(self.ends.searchsorted(tokens.starts[full], "right")) - 1
        while i >= 0 and self.begins[i] > tokens.starts[begin]:
            at = self._token(tokens, i, full)
            if at is not None and at > begin:
                return at
            i -= 1
        return None

    def first(self, tokens: Tokens, begin: int, end: int) -> int | None:
        """Return the first token from `begin` on, before `end`, that begins a word at a break, if any does."""
        i = int(self.begins.searchsorted(tokens.starts[begin]))
        while i < len(self.ends) and self.ends[i] <= tokens.starts[end - 1]:
            at = self._token(tokens, i, end - 1)
            if at is not None and at >= begin:
                return at
            i += 1
        return None

    def _token(self, tokens: Tokens, i: int, most: int) -> int | None:
        """Return the last token, `most` at most, that begins a word in break `i`.

        Byte-level and SentencePiece tokenizers join white space to the word that follows, so it may begin before it.
        """
        at = min(int(tokens.starts.searchsorted(self.begins[i], "right")) - 1, most)
        at = tokens.words.before(at)
        return at if self.ends[i] <= tokens.starts[at] <= self.begins[i] else None


def breaks_of(text: str, by: str) -> tuple[Breaks, ...]:
    """Return where a text may be cut, the coarsest breaks first; none for "tokens".

    A sentence ends with its marks and what closes after them, if white space follows (or at once, in Chinese
    and Japanese); but neither before a small letter nor behind an initial, unless the mark stands alone. A
    paragraph ends with a blank line, and so does a sentence.
    """
    if by == "tokens":
        return ()
    paragraphs = [match.span() for match in _PARAGRAPH.finditer(text)]
    sentences = [match.span(1) for match in _SENTENCE.finditer(text) if _ends(text, match)]
    fine = _breaks(sorted(sentences + paragraphs, key=lambda place: (place[1], place[0])))
    return (fine,) if by == "sentences" else (_breaks(paragraphs), fine)


def _ends(text: str, match: re.Match[str]) -> bool:
    """Tell whether a sentence ends there: "e.g. so" and "J. Smith" are none."""
    marks, begin = match.group().rstrip(), match.start()
    if any(mark in _BARE for mark in marks) or text[begin - 1 : begin].isspace():
        return True
    initial = marks == "." and text[begin - 1 : begin].isalpha() and not text[max(begin - 2, 0) : begin - 1].isalnum()
    return not initial and not text[match.end() : match.end() + 1].islower()


def _breaks(places: Sequence[tuple[int, int]]) -> Breaks:
    return Breaks(*np.array(places, np.int64).reshape(-1, 2).T)
