"""Free-form text of many scripts, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

WORDS = st.sampled_from(
    ["the", "boundary", "layer", "flow", "heat-transfer", "don't", "it's", "x", "Straße", "İstan", "3.14"]
)
SPACE = st.text(" \t\n\r\u00a0\u3000\u2028", min_size=1, max_size=4)
CJK = st.text("中文字符漢かなカナ한국어、。", min_size=1, max_size=4)
EMOJI = st.text("😀👩\u200d💻🏽🇩🇪☃\ufe0f", min_size=1, max_size=3)
MARKED = st.text("aeou\u0301\u0308\u0323ñÅﬁ½ﷺ¨", min_size=1, max_size=4)
CODE = st.sampled_from(["def f(x):\n    return x[0]\n", "if (a==b) {", "\t\tx += 1;", ">>> ", "}\n\n}", "# [SEP] <s>"])
PIECES = st.one_of(
    WORDS, WORDS, SPACE, SPACE, st.integers(0, 9999).map(str), CJK, EMOJI, MARKED, CODE, st.text(max_size=4)
)
DOCUMENTS = st.one_of(st.lists(PIECES, max_size=60), st.lists(PIECES, min_size=30, max_size=90)).map("".join)
