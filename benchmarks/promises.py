"""What the encoder promises, measured on one GPU: parity, same bits, mixed lengths, running out of memory.

For each model and precision:
- parity: least cosine of every vector to transformers' own padded model in fp32, one text at a time;
- bits: sha256 of all vectors over three orders and three token budgets, and this process's digest,
  to be compared with another process's (run the script twice with empty cache folders);
- mixed: tokens/s with half the texts about 20 tokens long and half full, beside full ones alone, and
  sentence-transformers' on the same texts (`--peer` batch sizes);
- oom: the time lost, and the bytes, when the card runs out of memory at 20 random batches;
- small: the token budget that calibration finds when this process may take a few GiB alone, and the bytes.

Prints one JSON line each. Results with hardware and date: LOG.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.engine.encoder import LocalEncoder
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.engine.padded import run_padded, stock_attention
from embed_corpus.engine.ready import fp8_loss, get_ready
from embed_corpus.engine.selftest import self_test
from embed_corpus.verbs.measure import Ids, embed, measure, pack, seconds
from embed_corpus.verbs.reproduce import digest_of, in_order
from engine import cut_once, full, load, peer


def parity(model: LoadedModel, chunks: Ids, vectors: np.ndarray) -> dict[str, float]:
    """Compare with the padded model in fp32, whose weights are the encoder's own."""
    module, run = model.module.float(), model.runner
    expected = []
    with torch.inference_mode(), stock_attention(module):
        for ids in chunks:
            there = torch.from_numpy(ids)[None].long().to(run.device)
            hidden = run_padded(module, there, torch.ones_like(there, dtype=torch.bool))[0]
            edges = torch.tensor([0, len(ids)], dtype=torch.int32, device=run.device)
            expected.append(run.vectors_of(hidden, edges).cpu().numpy()[0])
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, np.stack(expected)))
    cosine = (a * b).sum(1)
    return {"least": round(float(cosine.min()), 7), "mean": round(float(cosine.mean()), 7), "rows": len(cosine)}


def bits(encoder: LocalEncoder, chunks: Ids, budgets: list[int]) -> dict[str, Any]:
    """Embed in three orders and several budgets; how many different digests come out?"""
    dice = np.random.default_rng(0)
    seen: dict[str, list[str]] = {}
    for budget in budgets:
        for turn in range(3):
            digest = digest_of(in_order(encoder, chunks, dice.permutation(len(chunks)), budget))
            seen.setdefault(digest, []).append(f"{budget}/{turn}")
    return {"digest": min(seen), "different": len(seen), "where": list(seen.values()) if len(seen) > 1 else []}


def mixed(
    model: LoadedModel, encoder: LocalEncoder, full_texts: list[str], budget: int, sizes: list[int]
) -> dict[str, Any]:
    """Compare short and full texts, as many of each, with full ones alone and with short ones alone."""
    chunker = Chunker(WordTokenizer(model.runner.facts.folder), model.runner.longest)
    short = [" ".join(text.split()[:14]) for text in full_texts]
    both = [text for pair in zip(short, full_texts, strict=True) for text in pair]
    seen: dict[str, Any] = {}
    for name, texts in (("full", full_texts), ("mixed", both), ("short", short)):
        cut = chunker(texts)
        chunks = cut.ids()
        batches = full(encoder, chunks, budget)
        batches *= max(1, round(1.0 / seconds(lambda batches=batches: embed(encoder, batches))))
        rates = {"ours": round(measure(encoder, batches).tokens_per_s)}
        if sizes:
            theirs = peer(model, texts, len(cut.input_ids), sizes)
            rates |= {f"sentence-transformers, batch {size}": round(rate) for size, rate in theirs.items()}
        seen[name] = rates
        print(f"  {name}: {rates}", flush=True)
    return seen | {"ratio": round(seen["mixed"]["ours"] / seen["full"]["ours"], 3)}


class _OutOfMemory:
    """Stands in for an encoder's layers and runs out of memory at some calls."""

    def __init__(self, forward: Any, at: set[int]) -> None:
        self.name, self.pools, self.layout = forward.name, forward.pools, forward.layout
        self._forward, self._at, self._calls = forward, at, 0

    def __call__(self, packed: Any) -> torch.Tensor:
        self._calls += 1
        hidden: torch.Tensor = self._forward(packed)
        if self._calls in self._at:
            raise torch.OutOfMemoryError("forced")
        return hidden


def out_of_memory(encoder: LocalEncoder, chunks: Ids, budget: int) -> dict[str, Any]:
    """Force 20 failures behind the forward pass, so that its work is lost too."""
    batches = pack(encoder, chunks, budget)
    batches *= max(1, -(-400 // len(batches)))
    plain, forward = embed(encoder, batches), encoder.forward
    usual = min(seconds(lambda: embed(encoder, batches)) for _ in range(2))
    at = set((np.random.default_rng(0).choice(len(batches), 20, replace=False) + 1).tolist())
    encoder.forward = _OutOfMemory(forward, at)
    begin = time.perf_counter()
    vectors = embed(encoder, batches)
    taken = time.perf_counter() - begin
    encoder.forward = forward
    return {
        "same": digest_of(vectors) == digest_of(plain),
        "batches": len(batches),
        "lost": round(taken / usual - 1, 3),
    }


def small(model: LoadedModel, chunks: Ids) -> dict[str, Any]:
    """Calibrate and embed as on smaller cards: this process's share of the card is cut down."""
    total = torch.cuda.mem_get_info()[1]
    seen: dict[str, Any] = {}
    for gib in (141, 24, 8, 4):
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / total))
        begin = time.perf_counter()
        encoder, notes, _ = get_ready(model)
        taken = time.perf_counter() - begin
        digest = digest_of(in_order(encoder, chunks, budget=encoder.token_budget))
        seen[f"{gib} GiB"] = [encoder.token_budget, digest, round(taken, 1), *notes]
    torch.cuda.set_per_process_memory_fraction(1.0)
    return seen


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, help="name:precision, e.g. 0.6B:bf16")
    parser.add_argument("--checks", nargs="+", default=["bits", "parity", "mixed", "oom"])
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--configs", type=Path, required=True)
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--chunk-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=500_000)
    parser.add_argument("--budgets", type=int, nargs="+", default=[16_384, 32_768, 65_536])
    parser.add_argument("--rows", type=int, default=1000, help="texts of the parity and mixed checks")
    parser.add_argument("--peer", type=int, nargs="+", default=[], help="batch sizes of sentence-transformers")
    parser.add_argument("--cache", type=Path, help="folder where cut chunks are kept between runs")
    parser.add_argument("--device", default="cuda", help="cpu: to try the script out")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    texts = pq.read_table(options.corpus)["text"].to_pylist()
    for item in options.models:
        name, precision = item.split(":")
        with tempfile.TemporaryDirectory() as root:
            model, encoder = load(name, precision, options, Path(root))
            chunks, pieces = cut_once(model.runner.facts, texts, options.chunk_tokens, options.tokens, options.cache)
            row: dict[str, Any] = {"model": name, "precision": precision, "layers": encoder.forward.name}
            test = self_test(model, encoder, options.budgets[0])
            row["self-test"] = [test.problem, test.exact, round(test.cosine, 6)]
            if "bits" in options.checks:
                row["bits"] = bits(encoder, chunks, options.budgets)
            if "mixed" in options.checks:
                long = [p for p, ids in zip(pieces, chunks, strict=True) if len(ids) > 0.95 * model.runner.longest]
                row["mixed"] = mixed(model, encoder, long[: options.rows], options.budgets[0], options.peer)
            if "oom" in options.checks:
                row["oom"] = out_of_memory(encoder, chunks, options.budgets[0])
            if "small" in options.checks:
                row["small"] = small(model, chunks)
            if "fp8" in options.checks:
                row["fp8"] = fp8_loss(model, encoder, chunks[:1000])
            if "parity" in options.checks:  # last: it makes the model fp32
                few = chunks[: options.rows]
                row["parity"] = parity(model, few, in_order(encoder, few, budget=options.budgets[0]))
        print(json.dumps(row), flush=True)
        del model, encoder
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
