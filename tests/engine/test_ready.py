"""Getting ready: what the user is told, which budget is taken, and what fp8 costs."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.engine.encoder import LocalEncoder, untested
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.engine.padded import PaddedLayers
from embed_corpus.engine.ready import check_fp8, fp8_loss, get_ready
from embed_corpus.errors import ModelError
from embed_corpus.model.facts import read_facts
from kit.batches import Ids, encode, ids_of, random_ids
from kit.encoders import loaded_on_cpu
from kit.faulty import Bent


@pytest.fixture(scope="module")
def sample(tiny_decoder: Path, documents: list[str]) -> Ids:
    """Ids of natural texts."""
    return ids_of(Chunker(WordTokenizer(tiny_decoder), 128)(documents))


def tried(folder: Path, precision: str) -> tuple[LoadedModel, LocalEncoder]:
    """The model on the CPU, and an encoder of it."""
    model = loaded_on_cpu(read_facts(folder), precision)
    return model, untested(model)


class Noisy:
    """A way to run a model's layers with so much noise added."""

    def __init__(self, forward: Any, share: float) -> None:
        self.name, self.layout, self.pools = forward.name, forward.layout, forward.pools
        self._forward, self._share = forward, share
        self._dice = torch.Generator().manual_seed(0)

    def __call__(self, packed: Any) -> torch.Tensor:
        hidden = self._forward(packed)
        return hidden + self._share * hidden.std() * torch.randn(hidden.shape, generator=self._dice).to(hidden.dtype)


# --- budget ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "budget"), [(None, 1024), (512, 512), (5, 64)])
def test_budget(tiny_model: Path, asked: int | None, budget: int) -> None:
    """The budget is what was asked for, 1,024 on a CPU if nothing was, and the longest text at least."""
    encoder, notes, _ = get_ready(loaded_on_cpu(read_facts(tiny_model)), asked)
    assert notes == ()
    assert encoder.token_budget == encoder.packer().budget == budget


def test_own_attention_takes_the_padded_path(tiny_mpnet: Path) -> None:
    """A model that cannot take packed batches is padded, and its user is told once why."""
    encoder, notes, _ = get_ready(loaded_on_cpu(read_facts(tiny_mpnet)))
    assert notes == ("texts are padded, which is slower: architecture 'mpnet' computes its attention itself",)
    assert isinstance(encoder.forward, PaddedLayers)


def test_budget_of_the_padded_path(tiny_mpnet: Path) -> None:
    """The budget that was asked for bounds a padded pass too, and is used up."""
    encoder = get_ready(loaded_on_cpu(read_facts(tiny_mpnet)), 4096).encoder
    assert encoder.forward._budget == encoder.token_budget == 4096


def test_model_is_let_go(tiny_model: Path) -> None:
    """A ready encoder keeps the layers that it runs, and lets transformers' model go."""
    model, ids = loaded_on_cpu(read_facts(tiny_model)), random_ids([9, 64, 30])
    encoder, module = get_ready(model).encoder, weakref.ref(model.module)
    before = encode(encoder, ids)
    del model
    gc.collect()
    assert module() is None
    assert encode(encoder, ids).tobytes() == before.tobytes()


def test_loss_of_fp8(tiny_decoder: Path, sample: Ids) -> None:
    """fp8 costs something, measured over all chunks; bf16 against itself next to nothing."""
    mean, least, overlap = fp8_loss(*tried(tiny_decoder, "fp8"), sample)
    assert 0.9 < least < mean < 0.99999
    assert 0.5 < overlap < 1
    mean, least, overlap = fp8_loss(*tried(tiny_decoder, "bf16"), sample)
    assert 0.999 < least <= mean
    assert overlap > 0.9


def test_good_fp8_passes_and_tells_its_price(tiny_decoder: Path, sample: Ids) -> None:
    """What costs little passes unforced, and says over how many chunks it was measured."""
    said = check_fp8(*tried(tiny_decoder, "bf16"), sample, forced=False)
    assert said.startswith(f"fp8 against bf16 over {len(sample)} chunks: cosine 1.0000 (least 0.99")


def test_bad_fp8_is_refused_unless_forced(tiny_decoder: Path, sample: Ids) -> None:
    """What costs too much is refused with the numbers and both remedies; forced, it passes with the same numbers."""
    model, encoder = tried(tiny_decoder, "bf16")
    plain = encoder.forward
    encoder.forward = Noisy(plain, 1.0)
    with pytest.raises(ModelError, match=r"Use --precision bf16, or --force-fp8") as error:
        check_fp8(model, encoder, sample, forced=False)
    encoder.forward = Noisy(plain, 1.0)
    assert str(error.value).startswith(check_fp8(model, encoder, sample, forced=True))


def test_no_number_is_no_good_fp8(tiny_decoder: Path, sample: Ids) -> None:
    """A single vector that is NaN does not pass for a good one."""
    model, encoder = tried(tiny_decoder, "bf16")
    encoder.forward = Bent(encoder.forward, 1999)
    with pytest.raises(ModelError, match="cosine nan"):
        check_fp8(model, encoder, [*sample, np.array([1999], np.int32)], forced=False)


def test_no_sample_for_fp8(tiny_decoder: Path) -> None:
    """A first shard without a single chunk, or one that cannot be read, is no reason to break down."""
    assert check_fp8(*tried(tiny_decoder, "fp8"), [], forced=False)


@pytest.mark.parametrize(("name", "compiled"), [("tiny_model", True), ("tiny_decoder", False)])
def test_fp8_where_there_is_none(request: pytest.FixtureRequest, name: str, compiled: bool) -> None:
    """A model, or a way to run it, that has no fp8 layers is refused, not run in bf16 under another name."""
    facts = read_facts(request.getfixturevalue(name))
    with pytest.raises(ModelError, match="fp8"):
        get_ready(loaded_on_cpu(facts, "fp8"), compiled=compiled)
