"""Every architecture, pooling and kind of module on a real GPU, against sentence-transformers in float32 on the CPU.

PYTHONPATH=pipeline:tests python -m torture.parity_on_card [--device cpu] [--only qwen3 bert …] [--share 0/4]

Prints a line a model and precision: the path it took and its least cosine; ends with 1 if one is too far, or fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Chunks
from embed_corpus.engine.encoder import untested
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.engine.ready import get_ready
from embed_corpus.model.facts import POOLINGS, ModelFacts, read_facts
from embed_corpus.model.matryoshka import resolve_dim
from embed_corpus.verbs.query import encode_chunks
from kit.batches import cosines
from kit.tiny import CORPUS, add_dense, edit
from parity.kinds import KINDS
from parity.texts import samples, training
from parity.zoo import ZOO, build

LEAST = {"fp32": 0.99999, "fp16": 0.9995, "bf16": 0.99}
"""Cosine with float32, by precision: these weights are wider, and these vectors shorter, than those of real models."""


def models(root: Path) -> Iterator[tuple[str, Path]]:
    """Build a tiny model of each architecture, then a BERT and a Qwen3 with each pooling and with Dense modules."""
    texts = training(pq.read_table(CORPUS / "cranfield-0.parquet")["text"].to_pylist()[:100])
    trained = cache(lambda kind: KINDS[kind].train(texts))
    for name in ZOO:
        yield name, build(name, root / name, trained(ZOO[name].kind))
    for name in ("bert", "qwen3"):
        for mode in (*POOLINGS, ["cls", "mean", "max"]):
            told = mode if isinstance(mode, str) else "-".join(mode)
            folder = Path(shutil.copytree(root / name, root / f"{name}-{told}"))
            edit(folder, "1_Pooling/config.json", pooling_mode=mode)
            yield folder.name, folder
        folder = Path(shutil.copytree(root / name, root / f"{name}-dense"))
        add_dense(folder, 32, 24)
        add_dense(folder)
        yield folder.name, folder


def chunked(facts: ModelFacts) -> tuple[list[str], Chunks]:
    """200 texts of 1 to nearly 2,000 tokens, each a chunk."""
    tokenizer = WordTokenizer(facts.folder)
    texts = samples(lambda text: sum(len(encoded.ids) for encoded in tokenizer.encode([text])))
    return texts, Chunker(tokenizer, facts.max_tokens)(texts)


def ways(facts: ModelFacts, chunks: Chunks, device: str, precision: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Vectors by each path that the model has in this precision."""
    model = LoadedModel(facts, device, precision)
    encoder = get_ready(model).encoder
    if not encoder.padded:
        yield "packed", encode_chunks(encoder, chunks)
        encoder = untested(model, padded=True, token_budget=encoder.token_budget)
    yield "padded", encode_chunks(encoder, chunks)


def compare(name: str, folder: Path, device: str, say: Callable[[str], None]) -> bool:
    """Compare one model in all precisions; whether each is near enough."""
    from sentence_transformers import SentenceTransformer

    facts = read_facts(folder)
    texts, chunks = chunked(facts)
    theirs = SentenceTransformer(str(folder), device="cpu").encode_document(texts, batch_size=4)
    short = resolve_dim(facts, 16, forced=True)
    cut = theirs[:, :16] / np.linalg.norm(theirs[:, :16], axis=1, keepdims=True)
    good = True
    for precision, enough in LEAST.items():
        for what, told, expected in (("", facts, theirs), (" --dim 16", short, cut))[: 2 if "-" in name else 1]:
            begin = time.monotonic()
            for path, ours in ways(told, chunks, device, precision):
                least = float(cosines(ours, expected).min())
                fine = least >= enough
                good &= fine
                seconds = time.monotonic() - begin
                say(f"{'' if fine else 'FAR '}{name}{what} {precision} {path} {least:.7f} ({seconds:.0f} s)")
    return good


def main() -> int:
    """Compare all models, or those asked for."""
    parser = argparse.ArgumentParser(prog="torture.parity_on_card", description=__doc__)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--only", nargs="*", default=[], help="names of models, e.g. qwen3 bert-dense")
    parser.add_argument("--share", default="0/1", help="every Nth model, e.g. 0/4: for several at a time on one GPU")
    options = parser.parse_args()
    first, every = map(int, options.share.split("/"))
    bad = []
    with tempfile.TemporaryDirectory() as root:
        for number, (name, folder) in enumerate(models(Path(root))):
            if number % every != first or (options.only and name not in options.only):
                continue
            try:
                good = compare(name, folder, options.device, lambda line: print(line, flush=True))
            except Exception as error:  # noqa: BLE001  # the others are to be seen, too
                print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
                good = False
            bad += [] if good else [name]
    print(json.dumps({"bad": bad}))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
