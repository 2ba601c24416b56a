"""Our vectors of an edited model folder against those of sentence-transformers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embed_corpus.chunk.tokenizer import WordTokenizer, tokenizer_of
from embed_corpus.chunk.windows import Chunker
from embed_corpus.engine.encoder import LocalEncoder
from embed_corpus.engine.ready import get_ready
from embed_corpus.errors import EmbedCorpusError
from embed_corpus.job.fingerprint import space_record
from embed_corpus.job.fits import check_fit
from embed_corpus.job.prompts import Prompts, with_document_prompt, with_query_prompt
from embed_corpus.model.facts import ModelFacts, read_facts
from embed_corpus.model.matryoshka import resolve_dim
from embed_corpus.verbs.query import encode_chunks
from kit.batches import cosines
from kit.encoders import loaded_on_cpu
from parity.texts import SENTENCES

TEXTS = [
    *SENTENCES[:9],
    "HEAT Transfer of a Flat PLATE FLOW, [NEW] flow[unused0] heat plate flow. [MASK]the <mask>",
    "x [PAD] y <pad> z </s> <|endoftext|> [SEP] end",
    "a",
    " ".join(SENTENCES[:6]),
    " ".join(SENTENCES * 12),
]
QUERY = "How does HEAT flow?"


@dataclass(frozen=True)
class Seen:
    """What came of a folder: "same", "refused", "theirs fails", or a fault, with more words."""

    outcome: str
    words: str

    @property
    def fault(self) -> bool:
        """It is a third outcome: neither the right vectors nor a refusal."""
        return self.outcome in ("other vectors", "traceback")


def judge(folder: Path) -> Seen:
    """Embed texts by both, and compare."""
    try:
        limit, prompt, cut, ours = _ours(folder)
    except EmbedCorpusError as error:
        return Seen("refused", str(error))
    except Exception as error:  # noqa: BLE001  # which is what is looked for
        return Seen("traceback", f"{type(error).__name__}: {error}")
    try:
        model, theirs = _theirs(folder, cut, prompt)
    except Exception as error:  # noqa: BLE001  # whatever it is, nothing is to be compared with
        return Seen("theirs fails", f"{type(error).__name__}: {error}")
    if not np.isfinite(theirs).all():
        return Seen("theirs fails", "not finite")
    if theirs.shape != ours.shape:
        return Seen("other vectors", f"{ours.shape} against {theirs.shape}")
    least = float(cosines(ours, theirs).min())
    if not least >= 0.99999:
        return Seen("other vectors", f"cosine {least:.6f} of text {int(cosines(ours, theirs).argmin())}")
    model_config = getattr(model[0], "config", None)  # a table has none, nor has a Router
    positions = getattr(model_config, "max_position_embeddings", None) or 1 << 60
    longest = (model.max_seq_length or 1 << 60) if model_config is not None else limit
    if limit < min(longest, positions - 4) or limit > longest:
        return Seen("other vectors", f"a limit of {limit} tokens against {model.max_seq_length}")
    return Seen("same", f"cosine {least:.6f}")


def _ours(folder: Path) -> tuple[int, str, list[str], NDArray[np.float32]]:
    facts = resolve_dim(read_facts(folder), None, forced=False)
    space_record(facts)
    facts = with_document_prompt(facts, facts.document_prompt)
    words = tokenizer_of(facts)
    encoder = _fitting(words, facts)
    chunks = Chunker(words, facts.max_tokens, prompt=facts.document_prompt, truncate=True)(TEXTS)
    cut = [text[:end] for text, end in zip(TEXTS, chunks.end.tolist(), strict=True)]
    vectors = encode_chunks(encoder, chunks)
    if facts.left_out:  # a query's prompt is left out by an encoder of its own
        return facts.max_tokens, facts.document_prompt, cut, vectors
    asked = with_query_prompt(facts, Prompts())
    if facts.queries:  # a Router's queries go through modules of their own
        words = tokenizer_of(asked)
        encoder = _fitting(words, asked)
    query = Chunker(words, asked.max_tokens, prompt=asked.document_prompt)([QUERY])
    vectors = np.concatenate([vectors, encode_chunks(encoder, query)[:1]])
    return facts.max_tokens, facts.document_prompt, [*cut, QUERY], vectors


def _fitting(words: WordTokenizer, facts: ModelFacts) -> LocalEncoder:
    model = loaded_on_cpu(facts)
    check_fit(words, facts, model.known_ids)
    return get_ready(model, compiled=False).encoder


@torch.inference_mode()
def _theirs(folder: Path, texts: list[str], prompt: str) -> tuple[Any, NDArray[np.float32]]:
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}, backend="torch")
        # One at a time: padding on the left moves BERT's positions there, so that vectors depend on the other texts.
        # A prompt named passage or corpus is hidden by their own, unset, prompt named document; ours is not.
        others = model.prompts.get("passage"), model.prompts.get("corpus")
        hidden = {"prompt": prompt} if prompt in others and not model.prompts.get("document") else {}
        vectors = model.encode_document(texts[: len(TEXTS)], batch_size=1, **hidden)
        if len(texts) > len(TEXTS):
            vectors = np.concatenate([vectors, model.encode_query(texts[len(TEXTS) :])])
    return model, vectors
