"""Late chunking: a chunk's vector is the mean over its tokens after one pass over its whole document."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch.nn.functional import normalize

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Chunks
from embed_corpus.engine.base import EncoderSpec
from embed_corpus.engine.encoder import LocalEncoder
from embed_corpus.engine.encoders import load_encoder
from embed_corpus.errors import ModelError
from embed_corpus.job.late_chunking import check_late_chunking
from embed_corpus.model.facts import read_facts
from embed_corpus.verbs.query import encode_chunks
from kit.batches import cosines
from kit.encoders import on_cpu
from kit.faulty import Bent, break_down
from kit.tiny import edit
from parity.kinds import KINDS
from parity.texts import training
from parity.zoo import ZOO, build

CHUNK, LIMIT = 24, 400


@pytest.fixture(scope="module", params=["bert", "nomic_bert", "modernbert"])
def late(request: pytest.FixtureRequest, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with mean pooling that takes 400 tokens: fused layers, rotary positions, sliding windows."""
    kind = KINDS[ZOO[request.param].kind]
    folder = build(request.param, tmp_path_factory.mktemp("late"), kind.train(training(texts[:100])))
    edit(folder, "1_Pooling/config.json", pooling_mode="mean")
    edit(folder, "sentence_bert_config.json", max_seq_length=LIMIT)
    return folder


@pytest.fixture(scope="module")
def pages(texts: list[str], long_texts: list[str]) -> list[str]:
    """A text of several passes among ones of one, two of them of a single chunk."""
    return [*texts[:5], long_texts[0][:6000], "one chunk", *texts[5:9], "Two words.", texts[9]]


def cut(model: Path, pages: list[str], pass_tokens: int = LIMIT) -> Chunks:
    """The documents' chunks, in passes."""
    return Chunker(WordTokenizer(model), CHUNK, pass_tokens=pass_tokens)(pages)


def encoder_of(model: Path, precision: str = "fp32", budget: int = 1024) -> LocalEncoder:
    """The model on the CPU."""
    return on_cpu(read_facts(model), precision, LIMIT, token_budget=budget)


def by_transformers(folder: Path, text: str, spans: list[tuple[int, int]]) -> NDArray[np.float32]:
    """Run transformers' model over a whole text (over the chunks that fit, again and again), and pool each span."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    special = len(tokenizer.encode("").ids)
    encoding = tokenizer.encode(text)
    begin = encoding.special_tokens_mask.index(0)
    n_suffix = special - begin
    inner = encoding.ids[begin : len(encoding.ids) - n_suffix]
    starts = np.array([a for a, _ in encoding.offsets[begin : begin + len(inner)]])
    edges = [*(0 if a == 0 else int(starts.searchsorted(a)) for a, _ in spans), len(inner)]
    vectors, first = [], 0
    while first < len(spans):
        last = max(k for k in range(first + 1, len(edges)) if edges[k] - edges[first] <= LIMIT - special)
        ids = [*encoding.ids[:begin], *inner[edges[first] : edges[last]], *encoding.ids[len(encoding.ids) - n_suffix :]]
        with torch.inference_mode():
            states = model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        for k in range(first, last):
            a = 0 if k == first else edges[k] - edges[first] + begin
            b = len(ids) if k == last - 1 else edges[k + 1] - edges[first] + begin
            vectors.append(normalize(states[a:b].mean(0), dim=0).numpy())
        first = last
    return np.array(vectors)


@pytest.mark.heavy
def test_equals_one_forward_of_the_whole_document(late: Path, pages: list[str]) -> None:
    """Each chunk's vector is the mean of its tokens' states as transformers computes them over the whole document."""
    chunks = cut(late, pages)
    ours = encode_chunks(encoder_of(late, budget=1500), chunks)
    spans = list(zip(chunks.start.tolist(), chunks.end.tolist(), strict=True))
    theirs = [
        by_transformers(late, page, [spans[i] for i in np.flatnonzero(chunks.doc == d)]) for d, page in enumerate(pages)
    ]
    theirs = np.concatenate(theirs)
    n_passes = np.bincount(chunks.doc[chunks.n_tokens.cumsum().searchsorted(chunks.passes.cumsum())])
    assert n_passes[5] > 2
    assert (n_passes == 1).sum() >= 8
    assert (chunks.passes <= LIMIT).all()
    assert (chunks.n_tokens <= CHUNK).all()
    assert ours.shape == theirs.shape
    assert (cosines(ours, theirs) >= 0.99999).all()
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_context_matters_and_a_single_chunk_has_none(late: Path, pages: list[str]) -> None:
    """Documents of one chunk have the vector of ordinary chunking, to the bit; chunks of longer ones have others."""
    chunks = cut(late, pages)
    plain = cut(late, pages, pass_tokens=0)
    ours, theirs = (encode_chunks(encoder_of(late), each) for each in (chunks, plain))
    single = np.isin(chunks.doc, np.flatnonzero(np.bincount(chunks.doc) == 1))
    assert single.sum() == 2
    assert ours[single].tobytes() == theirs[single].tobytes()
    assert (cosines(ours, theirs)[~single] < 0.999).mean() > 0.9
    for name in ("doc", "index", "start", "end"):
        np.testing.assert_array_equal(getattr(chunks, name), getattr(plain, name))


@pytest.mark.heavy
def test_same_bits_in_any_batch(late: Path, pages: list[str]) -> None:
    """A chunk's vector has the same bits in batches of any size, in any order, and from its pass alone."""
    chunks = cut(late, pages)
    expected = encode_chunks(encoder_of(late, budget=LIMIT), chunks)
    assert encode_chunks(encoder_of(late, budget=4096), chunks).tobytes() == expected.tobytes()
    back = encode_chunks(encoder_of(late), cut(late, pages[::-1]))
    counts = np.bincount(chunks.doc)
    parts = np.split(back, np.cumsum(counts[::-1])[:-1])[::-1]
    assert np.concatenate(parts).tobytes() == expected.tobytes()
    for i in range(0, len(chunks), 7):
        text, place = chunks.around(i)
        assert encode_chunks(encoder_of(late), text)[place].tobytes() == expected[i].tobytes()


def test_split_when_memory_is_short(late: Path, pages: list[str]) -> None:
    """A batch that does not fit is split between passes; the bytes stay."""
    chunks, encoder = cut(late, pages), encoder_of(late, budget=8192)
    expected = encode_chunks(encoder, chunks)
    broken = break_down(encoder, {1, 2})
    assert encode_chunks(encoder, chunks).tobytes() == expected.tobytes()
    assert broken.calls > 3


def test_no_numbers_are_made_again_from_the_whole_pass(late: Path, pages: list[str]) -> None:
    """Chunks that are not finite are computed again in fp32 with all their pass, and no others."""
    chunks, encoder = cut(late, pages), encoder_of(late, "bf16", budget=8192)
    before, wide = encode_chunks(encoder, chunks), encode_chunks(encoder_of(late), chunks)
    ids, owner = chunks.input_ids, np.repeat(np.arange(len(chunks)), chunks.n_tokens)
    holders = ((token, np.unique(owner[ids == token])) for token in np.unique(ids).tolist())
    token, hit = next(each for each in holders if 3 <= len(np.unique(chunks.doc[each[1]])) < len(each[1]) <= 30)
    encoder.forward = Bent(encoder.forward, token)
    after = encode_chunks(encoder, chunks)
    assert encoder.redone == len(hit)
    assert after[hit].tobytes() == wide[hit].tobytes()
    rest = np.setdiff1d(np.arange(len(chunks)), hit)
    assert after[rest].tobytes() == before[rest].tobytes()


def test_padded_models_are_refused(tiny_mpnet: Path) -> None:
    """A model whose texts are padded is refused, with the reason."""
    ready = load_encoder(EncoderSpec("cpu", read_facts(tiny_mpnet), "fp32")).ready(list)
    with pytest.raises(ModelError, match=r"--late-chunking needs packed texts, and here texts are padded.*'mpnet'"):
        check_late_chunking(ready)
