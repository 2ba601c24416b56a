"""Token windows: where a document is cut, whole or while it is tokenised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.chunk.breaks import breaks_of
from embed_corpus.chunk.tokens import join

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from embed_corpus.chunk.breaks import Breaks
    from embed_corpus.chunk.tokens import Encoded, Tokens

__all__ = ["Stretch", "cut_long", "windows"]


def windows(
    tokens: Tokens, capacity: int, overlap: int = 0, begin: int = 0, breaks: Sequence[Breaks] = ()
) -> Iterator[tuple[int, int, bool]]:
    """Cut tokens from `begin` on into windows of at most `capacity`, each ending at the last break inside.

    Where none of the coarsest `breaks` lies inside, the next finer ones count, at last the word boundaries. A
    window ends inside a word only when the word alone exceeds it. A window begins where the one before
    ended, or, with `overlap` (in tokens, < capacity), at the first break (in the same order of kinds) inside the
    last `overlap` tokens of it.

    Yields:
        First token and end token of each window, and whether it ends inside a word.
    """
    n, words = len(tokens), tokens.words

    def end_of(begin: int) -> tuple[int, bool]:
        """Return the window's end, at a word edge, else at a character edge, else wherever it is full."""
        full = begin + capacity
        if full >= n:
            return n, False
        for kind in breaks:
            if (at := kind.last(tokens, begin, full)) is not None:
                return at, False
        last = words.before(full)
        if last > begin:
            return last, False
        inside = np.flatnonzero(tokens.char_edge[begin + 1 : full + 1])
        return begin + 1 + int(inside[-1]) if len(inside) else full, True

    def backs(least: int, end: int) -> Iterator[int]:
        """Yield where the next window may begin before `end`, from `least` on, the best place first."""
        if not overlap:
            return
        yield from (at for kind in breaks if (at := kind.first(tokens, least, end)) is not None)
        if (at := words.after(least)) < end:
            yield at

    while True:
        end, inside = end_of(begin)
        yield begin, end, inside
        if end == n:
            return
        # A window that would not reach beyond this one's end is no new chunk.
        begin = next((at for at in backs(max(end - overlap, begin + 1), end) if end_of(at)[0] > end), end)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some consecutive windows of a document.

    Attributes:
        text: a piece of the document that holds them.
        base: characters before it.
        ids: int32[T], its tokens.
        windows: int64[5, n]: first token, end token, first and end character in `text`, 1 if it ends inside a word.
    """

    text: str
    base: int
    ids: NDArray[np.int32]
    windows: NDArray[np.int64]


def cut_long(
    slabs: Iterable[tuple[Encoded, bool]], capacity: int, overlap: int, by: str = "tokens"
) -> Iterator[Stretch]:
    """Cut a document that comes in slabs (each one text, and whether it is the last) as `windows` cuts it whole.

    A few slabs' tokens are held, however many there are.
    """
    kept: list[Encoded] = []
    begin = base = 0
    for slab, is_last in slabs:
        kept.append(slab)
        tokens = join([(part.texts[0], part.tokens(0)) for part in kept])
        text = "".join(part.texts[0] for part in kept)
        starts = np.append(tokens.starts, len(text))
        found = []
        for first, stop, inside in windows(tokens, capacity, overlap, begin, breaks_of(text, by)):
            # How a window ends, and where the next begins, is seen within two windows from its begin.
            if not is_last and first + 2 * capacity >= len(tokens):
                begin = first
                break
            found.append((first, stop, 0 if base + first == 0 else starts[first], starts[stop], inside))
        if found:
            ids = np.concatenate([part.ids for part in kept])
            yield Stretch(text, base, ids, np.array(found, np.int64).T)
        while (
            kept and len(kept[0].ids) < begin
        ):  # not at it: the first window begins with the text, not its first token
            begin -= len(kept[0].ids)
            base += len(kept.pop(0).texts[0])
