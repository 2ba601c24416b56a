"""What all torture stands on: a corpus of small shards, a tiny model, an undisturbed result to compare with."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kit.tiny import CORPUS
from torture.herd import Herd, Run

ROWS = 24
"""Rows of a shard; two of each are rejects, so that their commit is tortured too."""


def make_corpus(folder: Path, shards: int) -> Path:
    """Write small JSONL shards, each with an empty text and an id that stands twice."""
    texts = [json.loads(line)["text"] for line in (CORPUS / "cranfield-2.jsonl").read_text().splitlines()]
    texts = [text[:400] for text in texts if text]
    folder.mkdir(parents=True)
    for i in range(shards):
        rows = [{"id": f"{i}-{k}", "text": texts[(i * ROWS + k) % len(texts)]} for k in range(ROWS)]
        rows[3]["text"], rows[9]["id"] = "", rows[8]["id"]
        (folder / f"{i:02}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def make_model(folder: Path) -> Path:
    """Save a one-layer random BERT."""
    import torch
    from transformers import BertConfig, BertModel

    from kit.tiny import SIZES, save_model, wordpiece

    torch.manual_seed(0)
    texts = [json.loads(line)["text"] for line in (CORPUS / "cranfield-2.jsonl").read_text().splitlines()]
    model = BertModel(BertConfig(**SIZES, max_position_embeddings=64)).eval()
    return save_model(folder, model, wordpiece(texts))


@dataclass
class Ground:
    """A corpus, a model, and what an undisturbed run makes of them."""

    herd: Herd
    root: Path
    corpus: Path
    model: Path
    clean: dict[str, bytes]
    life: float
    n_made: int = 0

    def line(self, out: Path, *more: object, corpus: Path | None = None) -> tuple[object, ...]:
        """Return the command line whose every run must end in the same bytes."""
        fixed = ("--model", self.model, "--id-column", "id", "--max-rejects", "10%", "--devices", "cpu")
        return ("run", corpus or self.corpus, out, *fixed, *more)

    def new_out(self, below: Path | None = None) -> Path:
        """Return an OUT that is not there yet."""
        self.n_made += 1
        return (below or self.root) / f"out-{self.n_made:04}"

    def drop(self, out: Path) -> None:
        """Remove an OUT that is checked."""
        shutil.rmtree(out, ignore_errors=True)

    def differing(self, out: Path) -> list[str]:
        """Return the visible parts that are not byte for byte those of the undisturbed run."""
        return sorted(name for name, content in parts(out).items() if self.clean.get(name) != content)

    def finish(self, out: Path, *more: object, verify: bool = True) -> None:
        """Run the line to its end: now OUT must be as an undisturbed run leaves it, and `verify` must say so."""
        done = self.herd.start(*self.line(out, *more))
        assert done.wait() == 0, done.said
        self.same(out)
        if verify:
            checked = self.herd.start("verify", out)
            assert checked.wait() == 0, checked.said

    def same(self, out: Path) -> None:
        """See that nothing is lost, doubled, different or left over."""
        found = parts(out)
        assert sorted(found) == sorted(self.clean), "lost or doubled parts"
        assert not self.differing(out)
        assert not left_over(out), f"left aside: {left_over(out)}"


def parts(out: Path) -> dict[str, bytes]:
    """Every visible part's bytes."""
    return {path.name: path.read_bytes() for path in sorted((out / "data").glob("*"))}


def inodes(out: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every visible part."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in sorted((out / "data").glob("*"))}


def left_over(out: Path) -> list[str]:
    """Return what lies in the folder of attempts."""
    return sorted(path.name for path in (out / "_embed" / "tmp").glob("*"))


def prepare_ground(herd: Herd, root: Path, model: Path, shards: int) -> Ground:
    """Make a corpus and embed it undisturbed."""
    ground = Ground(herd, root, make_corpus(root / "corpus", shards), model, {}, 0.0)
    run = herd.start(*ground.line(root / "clean"))
    assert run.wait() == 0, run.said
    ground.clean = parts(root / "clean")
    assert len(ground.clean) == shards
    lives = [time.monotonic() - run.begin]
    for _ in range(2):
        out = ground.new_out()
        run = herd.start(*ground.line(out))
        assert run.wait() == 0, run.said
        lives.append(time.monotonic() - run.begin)
        ground.same(out)
    ground.life = min(lives)
    return ground


def until(told: Callable[[], bool], run: Run, limit: float = 30.0) -> bool:
    """Wait for something that a run is to do; False if the run ended first."""
    deadline = time.monotonic() + limit
    while not told():
        if run.code is not None:
            return False
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.002)
    return True
