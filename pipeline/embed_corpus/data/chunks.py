"""Documents cut into token windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Chunks"]


@dataclass(frozen=True, slots=True)
class Chunks:
    """Token windows of a block's documents, in order, as flat arrays.

    Attributes:
        doc: int32[n], index of the document within the block.
        index: int32[n], number of the chunk within its document.
        start, end: int64[n], span in the document's text, in code points; end exclusive.
        n_tokens: int32[n], tokens the model sees: special tokens and prompt included.
        content_hash: uint8[n, 16], blake2b-128 of each chunk's text in UTF-8; with `passes`, of its document's.
        input_ids: int32[sum of n_tokens], the chunks' ids laid end to end.
        truncated: documents of which only the first window was kept (on request).
        cut_words: windows that end inside a word, because the word exceeds the limit.
        unknown: bool[n], chunks whose text has no token that the tokenizer knows; None: not looked at.
        passes: int32[m], with late chunking: tokens of each text that goes through the model in one, whole
            chunks of one document, special tokens only around them all; None: each chunk goes alone.
    """

    doc: NDArray[np.int32]
    index: NDArray[np.int32]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    n_tokens: NDArray[np.int32]
    content_hash: NDArray[np.uint8]
    input_ids: NDArray[np.int32]
    truncated: int = 0
    cut_words: int = 0
    passes: NDArray[np.int32] | None = None
    unknown: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.doc)

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Tokens of each text that goes through the model, int32: of passes, or else of chunks."""
        return self.n_tokens if self.passes is None else self.passes

    def around(self, i: int) -> tuple[Chunks, int]:
        """Return the chunks that go through the model with chunk `i`, and its number among them."""
        ends, of_texts = self.n_tokens.cumsum(), self.lengths.cumsum()
        text = int(of_texts.searchsorted(ends[i]))
        begin, end = int(of_texts[text] - self.lengths[text]), int(of_texts[text])
        first, stop = ends.searchsorted([begin, end], "right").tolist()
        rows = slice(first, stop)
        part = Chunks(
            self.doc[rows],
            self.index[rows],
            self.start[rows],
            self.end[rows],
            self.n_tokens[rows],
            self.content_hash[rows],
            self.input_ids[begin:end],
            passes=None if self.passes is None else self.passes[text : text + 1],
        )
        return part, i - first

    def texts(self, documents: Sequence[str], base: int = 0) -> list[str]:
        """Return each chunk's text, cut out of its document's, of which the first `base` characters are left out."""
        spans = zip(self.doc, self.start - base, self.end - base, strict=True)
        return [documents[doc][start:end] for doc, start, end in spans]

    def ids(self) -> list[NDArray[np.int32]]:
        """Return each chunk's ids, as views."""
        ends = self.n_tokens.cumsum().tolist()
        return [self.input_ids[end - n : end] for end, n in zip(ends, self.n_tokens.tolist(), strict=True)]
