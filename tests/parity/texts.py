"""Texts of many scripts and lengths, made of short sentences written for this."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SENTENCES = [
    "The boundary layer grows along a flat plate, and its thickness is measured twice.",
    "Don't panic: 3.14159 is near enough, isn't it? (See p. 42.)",
    "Die Straße führt über die Brücke, dann links zum Café.",
    "L'été dernier, nous avons marché jusqu'à l'océan.",
    "El niño preguntó: ¿por qué vuela el pájaro?",
    "Ветер дует с моря, и к вечеру станет холодно.",
    "Η θάλασσα είναι ήρεμη σήμερα το πρωί.",
    "הספר החדש מונח על השולחן ליד החלון.",
    "يقرأ الطالب كتابا عن تاريخ العلوم.",
    "नदी के किनारे एक पुराना पेड़ खड़ा है।",
    "风从海上吹来,傍晚会变冷。",
    "新しい本は窓のそばの机の上にあります。",
    "새 책은 창문 옆 책상 위에 있습니다.",
    "ลมพัดมาจากทะเลในตอนเย็น",
    "Gió thổi từ biển vào, buổi chiều trời sẽ lạnh.",
    "İstanbul'da hava güzel, çocuklar dışarıda oynuyor.",
    "def area(r): return 3.14 * r ** 2  # circle",
    "Emoji 😀👩‍💻 and e\u0301 marks, ½ and ﬁ.",
]
WORDS = [word for sentence in SENTENCES for word in sentence.split()]


def training(english: list[str]) -> list[str]:
    """What tokenizers are trained on."""
    return english + SENTENCES * 20


def samples(count: Callable[[str], int], n: int = 200, seed: int = 0) -> list[str]:
    """Texts of 1 to nearly 2,000 tokens as `count` counts them: short ones mostly, one of the greatest length."""
    dice = np.random.default_rng(seed)
    longest = int(1950 * len(WORDS) / count(" ".join(WORDS)))
    lengths = np.round(np.exp(dice.beta(0.8, 1.6, n) * np.log(longest / 2))).astype(int)
    lengths[:3] = 1
    texts = []
    for length in lengths.tolist():
        places = dice.integers(0, 3, length).cumsum() + dice.integers(len(WORDS))
        texts.append(" ".join(WORDS[place % len(WORDS)] for place in places.tolist()))
    texts[-1] = " ".join(WORDS[place % len(WORDS)] for place in range(longest))
    return texts
