"""The ways in which peers gave wrong vectors without a word, one test each.

Every test compares with sentence-transformers, or with the model run alone by hand, and then
shows that the mistake would be seen: the vectors that it gives are far from the right ones.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, processors
from transformers import AutoModel

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.engine import attention
from embed_corpus.engine.attention import attend
from embed_corpus.engine.encoder import untested
from embed_corpus.engine.ready import get_ready
from embed_corpus.model.facts import read_facts
from kit.batches import cosines, encode
from kit.encoders import loaded_on_cpu, on_cpu
from kit.tiny import edit
from parity.conftest import Build
from parity.texts import SENTENCES

Ids = list[NDArray[np.int32]]
TEXTS = [*SENTENCES, " ".join(SENTENCES), "a"]
FAR, NEAR = 0.999, 0.99999


def chunked(folder: Path, texts: list[str] = TEXTS, limit: int | None = None, *, truncate: bool = False) -> Ids:
    """Ids of these texts, as a run makes them."""
    limit = limit or read_facts(folder).max_tokens
    return Chunker(WordTokenizer(folder), limit, truncate=truncate)(texts).ids()


def ours(folder: Path, ids: Ids, *, padded: bool = False, offset: int | None = None) -> NDArray[np.float32]:
    """Vectors of these ids, all in one batch; `offset`: with positions that begin elsewhere."""
    model = loaded_on_cpu(read_facts(folder))
    encoder = get_ready(model, compiled=False).encoder
    if offset is not None:
        model.runner._offset = offset
    return encode(untested(model, padded=True) if padded else encoder, ids)


def theirs(folder: Path, texts: list[str] = TEXTS) -> NDArray[np.float32]:
    """Vectors of these texts by sentence-transformers, as documents."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").encode_document(texts)


@pytest.mark.parametrize("name", ["roberta", "xlm-roberta", "camembert"])
def test_roberta_positions_begin_behind_the_padding_index(bred: Build, name: str) -> None:
    """Packed texts of RoBERTa's family are counted from padding index + 1 on, each anew, not from 0."""
    folder, ids = bred(name), chunked(bred(name))
    expected = theirs(folder)
    assert (cosines(ours(folder, ids), expected) >= NEAR).all()
    assert (cosines(ours(folder, ids, offset=0), expected) < FAR).all()


@pytest.mark.parametrize("name", ["roberta", "xlm-roberta", "mpnet", "bert"])
def test_padding_token_in_a_text(bred: Build, name: str) -> None:
    """A padding token that a text holds takes the place that transformers gives it, and so do those behind it."""
    folder = bred(name)
    pad = "[PAD]" if name in ("bert", "mpnet") else "<pad>"
    texts = [f"One {pad} two {pad}{pad} three.", f"{pad} first", "none at all", f"last {pad}", *SENTENCES[:3]]
    ids, expected = chunked(folder, texts), theirs(folder, texts)
    assert (cosines(ours(folder, ids), expected) >= NEAR).all()


@pytest.mark.parametrize("name", ["qwen3", "mistral"])
def test_last_token_under_left_padding(bred: Build, tmp_path: Path, name: str) -> None:
    """The last token is the text's last, whichever side a tokenizer pads on, on both paths."""
    folder = Path(shutil.copytree(bred(name), tmp_path / "model"))
    ids = chunked(folder)
    right = theirs(folder)
    edit(folder, "tokenizer_config.json", padding_side="left")
    left = theirs(folder)
    np.testing.assert_allclose(left, right, atol=1e-4)
    for padded in (False, True):
        assert (cosines(ours(folder, ids, padded=padded), left) >= NEAR).all()
    assert (cosines(ours(folder, [i[:-1] for i in ids]), left) < FAR).all()


def test_last_token_is_kept_by_truncation_and_by_chunks(bred: Build) -> None:
    """What ends a text, and is its vector, ends every chunk of it: a cut text is that shorter text, not a torso."""
    folder = bred("qwen3")
    text = " ".join(SENTENCES * 3)
    end = WordTokenizer(folder).suffix.tolist()
    assert end == [0]
    for truncate in (False, True):
        chunks = Chunker(WordTokenizer(folder), 64, truncate=truncate)([text])
        ids = chunks.ids()
        assert [i[-1:].tolist() for i in ids] == [end] * len(ids)
        spans = [text[a:b] for a, b in zip(chunks.start, chunks.end, strict=True)]
        expected = theirs(folder, spans)
        assert (cosines(ours(folder, ids), expected) >= NEAR).all()
        assert (cosines(ours(folder, [i[:-1] for i in ids]), expected) < FAR).all()


@pytest.mark.parametrize("name", ["modernbert", "mistral", "qwen2", "gemma3-causal", "embedding-gemma"])
def test_sliding_window(bred: Build, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Layers with a window see that far, to one side or both, and every other layer everything."""
    folder, long = bred(name), [" ".join(SENTENCES)]
    ids, expected = chunked(folder, long), theirs(folder, long)
    assert len(ids[0]) > 200
    encoder = on_cpu(read_facts(folder))
    assert (cosines(encode(encoder, ids), expected) >= NEAR).all()
    more = 0

    def other(*args: object, **options: object) -> torch.Tensor:
        seen = options["window"]
        return attend(*args, **options | {"window": seen + more if seen and more else None})

    monkeypatch.setattr(attention, "attend", other)
    assert (cosines(encode(encoder, ids), expected) < FAR).all()
    for more in (-1, 1):  # noqa: B007  # `other` reads it
        assert (cosines(encode(encoder, ids), expected) < NEAR).all()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    ("name", "causal"),
    [
        ("qwen2", True),
        ("qwen2-bidirectional", False),
        ("qwen3", True),
        ("qwen3-bidirectional", False),
        ("gemma3-causal", True),
        ("embedding-gemma", False),
    ],
)
def test_direction(bred: Build, tmp_path: Path, name: str, causal: bool, padded: bool) -> None:
    """Decoders are causal unless their configuration says otherwise, as gte-Qwen2's and EmbeddingGemma's do."""
    folder = Path(shutil.copytree(bred(name), tmp_path / "model"))
    edit(folder, "1_Pooling/config.json", pooling_mode="cls")
    encoder = on_cpu(read_facts(folder), padded=padded)
    assert encoder.arithmetic.causal == causal
    ids = chunked(folder, SENTENCES)
    others = [np.concatenate([i[:-2], [7], i[-1:]]).astype(np.int32) for i in ids]  # another last word
    moved = (encode(encoder, ids) != encode(encoder, others)).any(axis=1)
    assert moved.tolist() == [not causal] * len(ids)


def test_token_types_are_not_needed(bred: Build) -> None:
    """BERT's second kind of token, which a padded or packed batch might bring in, is in no vector."""
    folder = bred("bert")
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    ids = chunked(folder)
    for text, vector in zip(ids[:3], ours(folder, ids[:3]), strict=True):
        one = torch.from_numpy(text).long()[None]
        right, wrong = (
            model(one, token_type_ids=torch.full_like(one, kind)).last_hidden_state[0, 0].detach().numpy()
            for kind in (0, 1)
        )
        assert cosines(right[None], vector[None])[0] >= NEAR
        assert cosines(wrong[None], vector[None])[0] < FAR


def test_eos_only_in_tokenizer_config(bred: Build, tmp_path: Path) -> None:
    """tokenizer.json says which special tokens a text gets, as for transformers; `add_eos_token` beside it does not."""
    folder = Path(shutil.copytree(bred("qwen3"), tmp_path / "model"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    edit(folder, "tokenizer_config.json", add_eos_token=True)
    assert WordTokenizer(folder).suffix.tolist() == []
    assert (cosines(ours(folder, chunked(folder)), theirs(folder)) >= NEAR).all()


def test_limit_of_the_tokens_not_of_the_table(bred: Build, tmp_path: Path) -> None:
    """`max_seq_length` cuts where sentence-transformers does: both keep the same first tokens."""
    folder = Path(shutil.copytree(bred("bert"), tmp_path / "model"))
    edit(folder, "sentence_bert_config.json", max_seq_length=32)
    facts = read_facts(folder)
    assert facts.max_tokens == 32
    chunks = Chunker(WordTokenizer(folder), 32, truncate=True)(TEXTS)
    assert chunks.n_tokens.max() <= 32
    cut = [text[:end] for text, end in zip(TEXTS, chunks.end, strict=True)]
    assert (cosines(ours(folder, chunks.ids()), theirs(folder, cut)) >= NEAR).all()


def test_prompts_of_the_files_reach_the_vectors(bred: Build, tmp_path: Path) -> None:
    """EmbeddingGemma's and E5's way: documents get their prompt, not the query's, and not none."""
    folder = Path(shutil.copytree(bred("embedding-gemma"), tmp_path / "model"))
    prompts = {"query": "task: search result | query: ", "document": "title: none | text: "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    facts, expected = read_facts(folder), theirs(folder)
    chunker = Chunker(WordTokenizer(folder), facts.max_tokens, prompt=facts.document_prompt)
    assert (cosines(ours(folder, chunker(TEXTS).ids()), expected) >= NEAR).all()
    asked = Chunker(WordTokenizer(folder), facts.max_tokens, prompt=facts.query_prompt)
    for wrong in (asked(TEXTS).ids(), chunked(folder)):
        assert (cosines(ours(folder, wrong), expected) < FAR).all()
