"""A long text that stays UTF-8."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_corpus.chunk import utf8
from embed_corpus.chunk.utf8 import LongText
from kit.free_text import DOCUMENTS


@given(text=DOCUMENTS, places=st.tuples(*[st.integers(0, 200)] * 2), block=st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_slices(text: str, places: tuple[int, int], block: int) -> None:
    """It has the length and the slices of the text as a string, wherever they are asked for."""
    known = utf8._BLOCK
    utf8._BLOCK = block
    try:
        long = LongText(pa.array(["before", text, "behind"])[1:])
        assert len(long) == len(text)
        assert long[slice(*places)] == text[slice(*places)]
        assert long[0 : len(text)] == text
    finally:
        utf8._BLOCK = known
