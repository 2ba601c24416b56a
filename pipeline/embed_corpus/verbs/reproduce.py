"""Prove that vectors do not depend on order, batch or process: the same bits each time."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embed_corpus.errors import EmbedCorpusError
from embed_corpus.feed.packing import MIN_TOKENS
from embed_corpus.job.options.option import arguments_of
from embed_corpus.verbs.measure import Ids, embed, pack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from embed_corpus.engine.encoder import LocalEncoder
    from embed_corpus.job.config import JobConfig

__all__ = ["Comparison", "digest_of", "in_order", "same_bits"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared with the first vectors, and whether the bits were the same."""

    name: str
    same: bool

    def lines(self) -> list[str]:
        """Return what the command prints."""
        return [f"{'same bits' if self.same else 'DIFFERENT':<10} {self.name}"]


def same_bits(encoder: LocalEncoder, chunks: Ids, config: JobConfig, tokens: int | None) -> Iterator[Comparison]:
    """Embed chunks in three other orders, to two other budgets, in two fresh processes: the same bits each time?"""
    expected = digest_of(in_order(encoder, chunks))
    dice = np.random.default_rng(1)
    for i in range(3):
        again = in_order(encoder, chunks, dice.permutation(len(chunks)))
        yield Comparison(f"shuffled {i + 1}", digest_of(again) == expected)
    budgets = {max(encoder.token_budget // 2, encoder.runner.longest, MIN_TOKENS), encoder.token_budget * 2}
    for budget in () if encoder.padded else sorted(budgets - {encoder.token_budget}):
        vectors = in_order(encoder, chunks, dice.permutation(len(chunks)), budget)
        yield Comparison(f"batches of {budget:,} tokens", digest_of(vectors) == expected)
    for i in range(2):
        yield Comparison(f"fresh process {i + 1}, empty caches", cold_digest(config, tokens) == expected)


def in_order(
    encoder: LocalEncoder, chunks: Ids, order: NDArray[Any] | None = None, budget: int | None = None
) -> NDArray[np.float32]:
    """Embed chunks in some order and return the vectors in their own."""
    order = np.arange(len(chunks)) if order is None else order
    vectors = embed(encoder, pack(encoder, [chunks[i] for i in order], budget))
    back = np.empty_like(vectors)
    back[order] = vectors
    return back


def digest_of(vectors: NDArray[np.float32]) -> str:
    """Return the sha256 of vectors' bytes."""
    return hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest()


def cold_digest(config: JobConfig, tokens: int | None) -> str:
    """Run `bench` of the same job in a fresh process with empty caches; the digest of its vectors.

    Raises:
        EmbedCorpusError: it failed.
    """
    from huggingface_hub.constants import HF_HOME  # else it would move with XDG_CACHE_HOME, models and all

    with tempfile.TemporaryDirectory() as empty:
        names = ("XDG_CACHE_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
        passed = ["--tokens", str(tokens)] if tokens else []
        options = [*arguments_of(config, "bench"), *passed, "--rounds", "0", "--json"]
        command = [sys.executable, "-m", "embed_corpus", "bench", *options, "--", *config.input]
        answer = subprocess.run(  # noqa: S603  # our own interpreter
            command,
            env=os.environ | dict.fromkeys(names, empty) | {"HF_HOME": HF_HOME},
            capture_output=True,
            text=True,
            check=False,
        )
    if answer.returncode:
        raise EmbedCorpusError(f"bench failed in a fresh process:\n{answer.stderr[-2000:]}")
    return str(json.loads(answer.stdout.splitlines()[-1])["digest"])
