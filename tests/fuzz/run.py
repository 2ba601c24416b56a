"""Edit model folders at random and judge each: `python -m fuzz.run 500` in tests/, or the short form as a test."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from fuzz.edits import edit_once
from fuzz.layouts import LAYOUTS, make
from fuzz.verdict import Seen, judge
from parity.kinds import KINDS
from parity.texts import training


def edited(
    numbers: range, layouts: dict[str, Path], scratch: Path, names: tuple[str, ...] = tuple(LAYOUTS)
) -> Iterator[tuple[int, str, str, Seen]]:
    """Yield for each number its layout, what was edited, and what came of it."""
    for number in numbers:
        dice = random.Random(number)
        name = names[number % len(names)]
        folder = Path(shutil.copytree(layouts[name], scratch / str(number)))
        done = "; ".join(edit_once(folder, dice) for _ in range(dice.choice([1, 1, 1, 2])))
        yield number, name, done, judge(folder)
        shutil.rmtree(folder)


def main(first: int, stop: int) -> int:
    """Run edits and print each fault, then the counts; returns the number of faults."""
    import logging

    import pyarrow.parquet as pq
    import transformers

    from kit.tiny import CORPUS

    transformers.utils.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    documents = pq.read_table(CORPUS / "cranfield-0.parquet")["text"].to_pylist()

    @cache
    def trained(kind: str) -> Tokenizer:
        return KINDS[kind].train(training(documents[:100]))

    with tempfile.TemporaryDirectory() as place:
        os.environ |= {"XDG_CACHE_HOME": f"{place}/cache", "HF_HUB_OFFLINE": "1"}
        layouts = {name: make(name, Path(place, name), trained) for name in LAYOUTS}
        for name, folder in layouts.items():
            seen = judge(Path(shutil.copytree(folder, f"{place}/whole-{name}")))
            sys.stdout.write(f"{name}: {seen.outcome}: {seen.words[:200]}\n")
        counts: Counter[str] = Counter()
        for number, name, done, seen in edited(range(first, stop), layouts, Path(place, "edits")):
            counts[seen.outcome] += 1
            if seen.fault or "-v" in sys.argv:
                sys.stdout.write(f"{number} {name}: {done}\n    {seen.outcome}: {seen.words[:300]}\n")
                sys.stdout.flush()
        sys.stdout.write(f"{dict(counts)}\n")
    return counts["other vectors"] + counts["traceback"]


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    try:
        sys.exit(bool(main(*([0, *numbers] if len(numbers) == 1 else numbers[:2]))))
    except KeyboardInterrupt:
        traceback.print_exc()
