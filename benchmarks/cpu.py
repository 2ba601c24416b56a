"""CPU throughput of the encoder beside sentence-transformers, on the same chunks.

Why: on a CPU the packed path must not cost anything: no padding is computed, one attention
call is made per chunk. How: the first chunks of the sample corpus (MiniLM, 256 tokens), both
sides get the texts and tokenise them themselves; every contestant runs once as warm-up, then
`--rounds` times in turn; the median counts. Tokens are real ones, padding never counts.
Prints a table and one JSON line. Results with hardware and date: LOG.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.engine.ready import get_ready
from embed_corpus.model.facts import read_facts
from embed_corpus.model.folder import model_folder
from embed_corpus.verbs.query import encode_chunks

CORPUS = Path(__file__).parents[1] / "data" / "samples" / "corpus" / "cranfield-0.parquet"


def contestants(texts: list[str], batch_sizes: list[int]) -> tuple[dict[str, Callable[[], object]], int]:
    """Build what is to be timed, by name, and count the tokens one pass embeds."""
    facts = read_facts(model_folder(None))
    chunker = Chunker(WordTokenizer(facts.folder), facts.max_tokens)
    whole = chunker(texts)
    pieces = [texts[doc][start:end] for doc, start, end in zip(whole.doc, whole.start, whole.end, strict=True)]
    encoder = get_ready(LoadedModel(facts, "cpu", "fp32")).encoder
    peer = SentenceTransformer(str(facts.folder), device="cpu")
    calls: dict[str, Callable[[], object]] = {"embed-corpus": lambda: encode_chunks(encoder, chunker(pieces))}
    for size in batch_sizes:
        calls[f"sentence-transformers, batch {size}"] = lambda size=size: peer.encode(pieces, batch_size=size)
    return calls, int(whole.n_tokens.sum())


def main() -> None:
    """Time every contestant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="Parquet file with a column `text`")
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 8, 16, 32])
    options = parser.parse_args()
    texts = [t for t in pq.read_table(options.corpus)["text"].to_pylist() if t][: options.documents]
    calls, tokens = contestants(texts, options.batch_sizes)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(options.rounds + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if turn:  # the first is the warm-up
                seconds[name].append(time.perf_counter() - begin)
    rates = {name: tokens / statistics.median(taken) for name, taken in seconds.items()}
    best = max(rate for name, rate in rates.items() if name != "embed-corpus")
    print(f"{'':<36}{'tokens/s':>10}{'least':>10}{'most':>10}")
    for name, taken in seconds.items():
        print(f"{name:<36}{rates[name]:>10,.0f}{tokens / max(taken):>10,.0f}{tokens / min(taken):>10,.0f}")
    print(f"ratio to the peer at its best batch size: {rates['embed-corpus'] / best:.2f}")
    facts = {"cores": len(os.sched_getaffinity(0)), "machine": platform.machine(), "torch": torch.__version__}
    print(
        json.dumps(
            {"tokens": tokens, "rounds": options.rounds, "rates": rates, "ratio": rates["embed-corpus"] / best} | facts
        )
    )


if __name__ == "__main__":
    main()
