"""Free-form text of many scripts, for property tests."""

from __future__ import annotations

import random

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

ALPHABETS = (
    " \t\n\r\u00a0\u3000\u2028\u2029",
    "中文字符漢かなカナ한국어、。！？「」",  # noqa: RUF001
    "😀👩\u200d💻🏽🇩🇪☃\ufe0f",
    "aeou\u0301\u0308\u0323ñÅﬁ½ﷺ¨",
    "هذانص؟ مثال۔यहहिन्दी।",  # noqa: RUF001
    ".!?…\"')]»”",
    "αβγδЖЩЮяйΣ",
)
FIXED = (
    "the", "boundary", "layer", "flow", "heat-transfer", "don't", "it's", "x", "Straße", "İstan", "3.14",
    " The ", " a ", " of ", " e.g. ", ". ", ". Next ", "! ", ".\n\n", "\n\n", "\n \n", "\r\n\r\n",
    "def f(x):\n    return x[0]\n", "  1", "  1", "  (", "\n  ", "\n\n  3",
    "\t\tx += 1;", ">>> ", "}\n\n}", "# [SEP] <s>",
)  # fmt: skip


def random_document(dice: random.Random) -> str:
    """Words, marks and scripts in any order: faster drawn than DOCUMENTS, which can be shrunk."""
    pieces = []
    for _ in range(dice.randrange(120)):
        kind = dice.random()
        if kind < 0.6:
            pieces.append(dice.choice(FIXED))
        elif kind < 0.95:
            pieces.append("".join(dice.choices(dice.choice(ALPHABETS), k=dice.randint(1, 4))))
        else:
            points = (dice.randrange(0x110000) for _ in range(dice.randint(1, 4)))
            pieces.append("".join(chr(p) for p in points if not 0xD800 <= p < 0xE000))
    return "".join(pieces)
