"""The encoder on one GPU: tokens/s, share of the bf16 matrix rate, memory, beside sentence-transformers.

Why: the forward pass is what a GPU is bought for. How: chunks of a real corpus, cut by the model's
own tokenizer, packed by the tool's own packer; a pass runs from ids in host memory to vectors in
host memory. Qwen3-Embedding and bge-base have random weights (their speed does not depend on them),
MiniLM its real ones. Warm-up is excluded, the median of `--rounds` counts. Tokens are real ones.

The ceiling is a large bf16 matrix product on the same card. Two are shown: "lasting", timed for a
second right before each model's rounds (a card under load sinks to its power limit within that
time, and the model runs at that limit too), and "burst", the best of ten products after a pause.

FLOPs a token = 2 x non-embedding parameters + 4 x layers x (n/2 causal, n else) x heads x head size.
That is the model's work; where pooling reads one token a text, the end of the last layer is done for
those alone (2 to 7 % of the work of these models), which is not counted off.

Prints a table and one JSON line. Results with hardware and date: LOG.md.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import transformers

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Batch
from embed_corpus.engine.attention import register
from embed_corpus.engine.ceiling import matrix_rate
from embed_corpus.engine.encoder import LocalEncoder, untested
from embed_corpus.engine.load import DTYPES
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.model.facts import ModelFacts, read_facts
from embed_corpus.model.folder import model_folder
from embed_corpus.verbs.measure import Ids, embed, measure, pack, seconds

BGE_BASE = {
    "model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "hidden_act": "gelu", "max_position_embeddings": 512,
}  # fmt: skip


def make_folder(name: str, configs: Path, minilm: Path, root: Path) -> Path:
    """Return a model folder: that of MiniLM, or one without weights made from a configuration."""
    if name == "minilm":
        return minilm
    folder = root / name
    if name == "bge-base":
        shutil.copytree(minilm, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        (folder / "config.json").write_text(json.dumps(BGE_BASE))
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512}))
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "model_max_length": 512})
        )
        (folder / "1_Pooling" / "config.json").write_text(
            json.dumps({"word_embedding_dimension": 768, "pooling_mode_cls_token": True})
        )
    else:
        shutil.copytree(configs / f"qwen3-embedding-{name.lower()}", folder)
        shutil.copy(configs / "qwen3-tokenizer.json", folder / "tokenizer.json")
    return folder


def random_model(facts: ModelFacts, dtype: torch.dtype, device: str = "cuda") -> torch.nn.Module:
    """Build a model with random weights straight on the card."""
    name = register()
    config = transformers.AutoConfig.from_pretrained(facts.folder, attn_implementation=name)
    kind = transformers.MODEL_MAPPING[type(config)]
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = kind(config)
    torch.set_default_dtype(default)
    return model.eval().requires_grad_(False)


def cut(facts: ModelFacts, texts: list[str], chunk_tokens: int, tokens: int) -> tuple[Ids, list[str]]:
    """Chunk texts until there are enough tokens: each chunk's ids, and its text for peers."""
    chunker = Chunker(WordTokenizer(facts.folder), min(chunk_tokens, facts.max_tokens))
    chunks: Ids = []
    pieces: list[str] = []
    for begin in range(0, len(texts), 4):
        block = texts[begin : begin + 4]
        found = chunker(block)
        chunks += found.ids()
        pieces += [block[d][s:e] for d, s, e in zip(found.doc, found.start, found.end, strict=True)]
        tokens -= int(found.n_tokens.sum())
        if tokens <= 0:
            break
    return chunks, pieces


def cut_once(
    facts: ModelFacts, texts: list[str], chunk_tokens: int, tokens: int, folder: Path | None
) -> tuple[Ids, list[str]]:
    """Do `cut`, or find what it gave before in a folder."""
    if folder is None:
        return cut(facts, texts, chunk_tokens, tokens)
    name = hashlib.sha256((facts.folder / "tokenizer.json").read_bytes()).hexdigest()[:12]
    file = folder / f"{name}-{min(chunk_tokens, facts.max_tokens)}-{tokens}.npz"
    if not file.exists():
        chunks, pieces = cut(facts, texts, chunk_tokens, tokens)
        lengths = np.array([len(ids) for ids in chunks])
        np.savez_compressed(
            file,
            ids=np.concatenate(chunks),
            lengths=lengths,
            pieces=np.frombuffer(json.dumps(pieces).encode(), np.uint8),
        )
    kept = np.load(file)
    return np.split(kept["ids"], np.cumsum(kept["lengths"])[:-1]), json.loads(kept["pieces"].tobytes())


def full(encoder: LocalEncoder, chunks: Ids, budget: int) -> list[Batch]:
    """Pack chunks as a run does; a last batch that is not full is left out, as in a long run."""
    batches = pack(encoder, chunks, budget)
    return batches[:-1] or batches


def burst(device: str) -> float:
    """Return the bf16 matrix rate of the card when it is cool, FLOP/s: the best of several short bursts."""
    rates = []
    for _ in range(6):
        time.sleep(0.5)
        rates.append(matrix_rate(torch.device(device), lasting=0.02))
    return max(rates)


KINDS = (
    ("attention", r"_attend|flash|fmha"),
    ("matrix products", r"gemm|nvjet|cutlass|cublas|sm90_xmma|splitK"),
    ("q/k norm + RoPE", r"_norm_rope"),
    ("norms", r"_norm|layer_norm"),
    ("activation", r"_silu_mul|_gelu|GeluCUDA"),
    ("fp8 quantise", r"_quantise"),
    ("copies", r"Memcpy|Memset|copy"),
)


def kernel_times(encoder: LocalEncoder, batches: list[Batch]) -> dict[str, float]:
    """Return the share of GPU time by kind of kernel, and of what is none of them by name."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        embed(encoder, batches)
    times: Counter[str] = Counter()
    for event in profile.key_averages():
        kind = next((k for k, pattern in KINDS if re.search(pattern, event.key)), event.key[:60])
        times[kind] += event.self_device_time_total
    total = sum(times.values())
    return {kind: round(100 * t / total, 1) for kind, t in times.most_common(12)}


def peer(model: LoadedModel, pieces: list[str], tokens: int, sizes: list[int]) -> dict[int, float]:
    """Return sentence-transformers' tokens/s by batch size, on the same texts and weights."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    facts, module = model.runner.facts, model.module
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(facts.folder, folder, dirs_exist_ok=True)
        module.save_pretrained(folder)
        kwargs = {"dtype": next(module.parameters()).dtype, "attn_implementation": "sdpa"}
        first = Transformer(folder, max_seq_length=model.runner.longest, model_args=kwargs)
        modules = [first, Pooling(facts.dim, pooling_mode=facts.pooling), Normalize()]
        theirs = SentenceTransformer(modules=modules, device=str(model.runner.device))
        rates = {}
        for size in sizes:
            theirs.encode(pieces[: size * 2], batch_size=size)
            rates[size] = tokens / seconds(lambda size=size: theirs.encode(pieces, batch_size=size))
            print(f"  sentence-transformers, batch {size}: {rates[size]:,.0f} tokens/s", flush=True)
    return rates


def load(name: str, precision: str, options: argparse.Namespace, root: Path) -> tuple[LoadedModel, LocalEncoder]:
    """Build a model on the card, with random weights unless it is MiniLM."""
    facts = read_facts(make_folder(name, options.configs, options.minilm, root))
    module = None if name == "minilm" else random_model(facts, DTYPES[precision], options.device)
    longest = min(options.chunk_tokens, facts.max_tokens)
    model = LoadedModel(facts, options.device, precision, longest, module=module)
    return model, untested(model, compiled=not options.no_compile)


def one(name: str, precision: str, options: argparse.Namespace, texts: list[str], root: Path) -> list[Any]:
    """Measure one model in one precision; a row for each token budget."""
    begin = time.perf_counter()
    model, encoder = load(name, precision, options, root)
    loaded = time.perf_counter() - begin
    if options.chunk_tokens > 2048:  # documents are shorter than that
        texts = ["\n\n".join(texts[i : i + 32]) for i in range(0, len(texts), 32)]
    chunks, pieces = cut_once(model.runner.facts, texts, options.chunk_tokens, options.tokens, options.cache)
    rows = []
    for budget in options.budgets:
        batches = full(encoder, chunks, budget)
        begin = time.perf_counter()
        encoder.encode(batches[0])
        first = time.perf_counter() - begin
        batches *= max(1, round(options.seconds / seconds(lambda batches=batches: embed(encoder, batches))))
        seen = measure(encoder, batches, options.rounds)
        row = {
            "model": name, "precision": precision, "budget": budget, "chunk_tokens": options.chunk_tokens,
            "tokens_per_s": round(seen.tokens_per_s), "tflops": round(seen.flops_per_s / 1e12, 1),
            "of_lasting": round(seen.flops_per_s / seen.matrix_rate, 4),
            "of_burst": round(seen.flops_per_s / options.burst, 4),
            "lasting_tflops": round(seen.matrix_rate / 1e12, 1),
            "fill": round(seen.fill, 3), "memory_gib": round(seen.memory / 2**30, 2),
            "first_batch_s": round(first, 2), "load_s": round(loaded, 1), "layers": encoder.forward.name,
        }  # fmt: skip
        rows.append(row)
        print(json.dumps(row), flush=True)
        if options.profile:
            print("  GPU time, %:", kernel_times(encoder, batches[:8]), flush=True)
    if options.peer:
        pieces = pieces[: options.peer_texts]
        few = sum(map(len, chunks[: len(pieces)]))
        rows[-1]["sentence_transformers"] = peer(model, pieces, few, options.peer)
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["0.6B", "4B", "8B", "bge-base", "minilm"])
    parser.add_argument("--precisions", nargs="+", default=["bf16"])
    parser.add_argument("--corpus", type=Path, required=True, help="Parquet file with a column `text`")
    parser.add_argument("--configs", type=Path, required=True, help="folder of the Qwen3-Embedding configurations")
    parser.add_argument("--minilm", type=Path, help="folder of MiniLM  [default: the demo extra's]")
    parser.add_argument("--chunk-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="tokens of a pass at least, before repeats")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long a pass shall take, about")
    parser.add_argument("--budgets", type=int, nargs="+", default=[32_768])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", type=int, nargs="+", default=[], help="batch sizes of sentence-transformers")
    parser.add_argument("--peer-texts", type=int, default=2000)
    parser.add_argument("--profile", action="store_true", help="GPU time by kind of kernel")
    parser.add_argument("--cache", type=Path, help="folder where cut chunks are kept between runs")
    parser.add_argument("--device", default="cuda", help="cpu: to try the script out")
    parser.add_argument("--no-compile", action="store_true")
    options = parser.parse_args()
    options.minilm = options.minilm or model_folder(None)
    texts = pq.read_table(options.corpus)["text"].to_pylist()
    options.burst = burst(options.device)
    card = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    print(f"{card}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"bf16 matrix product, burst: {options.burst / 1e12:.0f} TFLOP/s")
    rows = []
    with tempfile.TemporaryDirectory() as root:
        for name in options.models:
            for precision in options.precisions:
                rows += one(name, precision, options, texts, Path(root) / precision)
                gc.collect()
                torch.cuda.empty_cache()
    print(f"\n{'model':<10}{'':<6}{'budget':>8}{'tokens/s':>12}{'of lasting':>12}{'of burst':>10}{'fill':>7}{'GiB':>7}")
    for r in rows:
        print(
            f"{r['model']:<10}{r['precision']:<6}{r['budget']:>8,}{r['tokens_per_s']:>12,}{r['of_lasting']:>12.1%}"
            f"{r['of_burst']:>10.1%}{r['fill']:>7.1%}{r['memory_gib']:>7.1f}"
        )
    print(json.dumps({"device": card, "torch": torch.__version__, "burst": options.burst, "rows": rows}))


if __name__ == "__main__":
    main()
