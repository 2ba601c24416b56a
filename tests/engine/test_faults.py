"""A device that runs out of memory, and vectors that are no numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch

from embed_corpus.chunk.tokenizer import WordTokenizer
from embed_corpus.chunk.windows import Chunker
from embed_corpus.data import Counts
from embed_corpus.engine import encoder as encoder_module
from embed_corpus.engine import padded
from embed_corpus.engine.encoder import LocalEncoder
from embed_corpus.engine.padded import run_padded
from embed_corpus.errors import ModelError
from embed_corpus.execution.loader import Loader
from embed_corpus.execution.pipeline import Stages, embed_shards
from embed_corpus.job.config import JobConfig
from embed_corpus.job.prepare import prepare
from embed_corpus.model.facts import read_facts
from embed_corpus.report.events import Embedded, ShardEvent
from embed_corpus.sink.rejects import read_rejects
from embed_corpus.store.layout import Layout
from kit.batches import Ids, encode, ids_of, random_ids
from kit.encoders import loaded_on_cpu, on_cpu, ready_on_cpu
from kit.faulty import ALWAYS, Bent, Faulty, break_down, with_row
from kit.tiny import CORPUS

WEIRD = 1999
"""A token that no ordinary text has."""
SOURCE = CORPUS / "cranfield-0.parquet"


def encoder_of(model: Path, precision: str = "fp32", budget: int = 1024) -> LocalEncoder:
    """The model on the CPU, with a token budget."""
    return on_cpu(read_facts(model), precision, token_budget=budget)


def full_batch() -> Ids:
    """Texts of 1,024 tokens altogether."""
    return random_ids([64, 30, 2, 32] * 8)


# --- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [True, False])
def test_out_of_memory_once(model: Path, compiled: bool) -> None:
    """A batch that fails once is tried again as it is: same bytes, same budget."""
    encoder, ids = on_cpu(read_facts(model), compiled=compiled), full_batch()
    expected = encode(encoder, ids)
    forward = break_down(encoder, {1})
    assert encode(encoder, ids).tobytes() == expected.tobytes()
    assert (forward.calls, encoder.token_budget) == (2, 1024)


@pytest.mark.parametrize("compiled", [True, False])
def test_out_of_memory_twice(model: Path, compiled: bool) -> None:
    """A batch that fails twice is halved, and so is the budget; the bytes stay."""
    encoder, ids = on_cpu(read_facts(model), compiled=compiled), full_batch()
    expected = encode(encoder, ids)
    forward = break_down(encoder, {1, 2})
    assert encode(encoder, ids).tobytes() == expected.tobytes()
    assert (forward.calls, encoder.token_budget) == (4, 512)


def test_a_half_that_fails_is_halved_again(tiny_model: Path) -> None:
    """Halves are tried and halved like any batch: order and bytes stay."""
    encoder, ids = encoder_of(tiny_model), full_batch()
    expected = encode(encoder, ids)
    forward = break_down(encoder, {1, 2, 4, 5})  # the whole twice, the second half twice
    assert encode(encoder, ids).tobytes() == expected.tobytes()
    assert forward.calls == 7


def test_budget_is_lowered_once_in_ten_minutes(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that is short time and again lowers the budget once in ten minutes, and then for the runs to come too."""
    model, ids = loaded_on_cpu(read_facts(tiny_model)), random_ids([64] * 32)
    remembered: list[int] = []
    encoder = LocalEncoder(model, model.packed(), 2048, remember=remembered.append)
    for later, budget, noted in [(0, 1024, []), (599, 1024, []), (601, 512, [512])]:
        clock = 1000.0 + later
        monkeypatch.setattr(encoder_module.time, "monotonic", lambda at=clock: at)
        forward = encoder.forward
        break_down(encoder, {1, 2, 3, 4})
        encode(encoder, ids)
        encoder.forward = forward
        assert (encoder.token_budget, remembered) == (budget, noted)


def test_budget_never_falls_below_the_longest_text(tiny_model: Path) -> None:
    """However short memory is, the budget still holds the longest text of the job, and 256 tokens at least."""
    for longest, least in ((400, 400), (64, 300)):
        encoder = on_cpu(read_facts(tiny_model), longest=longest)
        break_down(encoder, {1, 2})
        encode(encoder, random_ids([20] * 30))
        assert encoder.token_budget == least


def test_out_of_memory_always(tiny_model: Path) -> None:
    """A device that holds not even the longest chunk is an error that names the device and the remedies."""
    encoder = encoder_of(tiny_model)
    break_down(encoder, ALWAYS)
    with pytest.raises(ModelError, match=r"cpu is out of memory .*shorter --chunk-tokens, or --precision fp16"):
        encode(encoder, full_batch())


def test_padded_path_takes_fewer_rows(tiny_mpnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The padded path goes on with half the rows a pass; if that never helps, the error names the remedies."""
    encoder, ids, sizes = on_cpu(read_facts(tiny_mpnet), padded=True), full_batch(), []

    def noted(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        sizes.append(ids.numel())
        return run_padded(model, ids, mask)

    expected = encode(encoder, ids)
    monkeypatch.setattr(padded, "run_padded", Faulty(noted, {1, 2}))
    assert encode(encoder, ids).tobytes() == expected.tobytes()
    assert set(sizes) == {512}
    monkeypatch.setattr(padded, "run_padded", Faulty(noted, ALWAYS))
    with pytest.raises(ModelError, match="shorter --chunk-tokens, or --precision fp16"):
        encode(encoder, ids)


@pytest.mark.heavy
@pytest.mark.parametrize("seed", [0, 2])
def test_out_of_memory_at_random(tiny_model: Path, tmp_path: Path, seed: int) -> None:
    """After 20 failures at random batches of a job all rows are there with the same bytes, in smaller batches."""
    expected, _ = embedded(tmp_path / "sound", tiny_model, encoder_of(tiny_model, budget=2048))
    encoder = encoder_of(tiny_model, budget=2048)
    failing = set(np.random.default_rng(seed).choice(np.arange(1, 44), 20, replace=False).tolist())
    forward = break_down(encoder, failing)
    table, counts = embedded(tmp_path / "out", tiny_model, encoder)
    assert forward.calls > 50
    assert 900 <= encoder.token_budget <= 1024
    assert max(forward.sizes[50:]) <= encoder.token_budget
    assert counts.documents == counts.rows == 350
    assert table.equals(expected)


def embedded(out: Path, model: Path, encoder: LocalEncoder) -> tuple[pa.Table, Counts]:
    """Embed the first Cranfield shard in this process; what is in OUT then, in order, and the counts."""
    job = prepare(JobConfig((str(SOURCE),), out, str(model), devices="cpu", id_column="id"))
    loader = Loader(job.recipe, job.config.columns, {}, workers=0)
    events: list[ShardEvent] = []
    embed_shards(job.todo, Stages(loader, encoder, job.form, job.layout, "n"), events.append)
    counts = sum((event.counts for event in events if isinstance(event, Embedded)), start=Counts())
    return ds.dataset(out / "data").to_table(), counts


# --- vectors that are no numbers -----------------------------------------------------------------


def with_weird() -> Ids:
    """Texts of which numbers 5 and 9 are of one weird token."""
    ids = full_batch()
    ids[5], ids[9] = np.full(40, WEIRD, np.int32), np.full(3, WEIRD, np.int32)
    return ids


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_no_number_is_computed_again(model: Path, precision: str) -> None:
    """Texts whose vectors are no numbers get those that fp32 gives them alone; all others keep their bytes."""
    encoder, ids = encoder_of(model, precision), with_weird()
    expected = encode(encoder, ids)
    for i in (5, 9):
        expected[i] = encode(encoder_of(model), [ids[i]])[0]
    encoder.forward = Bent(encoder.forward, WEIRD)
    assert encode(encoder, ids).tobytes() == expected.tobytes()
    assert encoder.redone == 2


def test_too_large_for_half_precision(model: Path, tmp_path: Path) -> None:
    """A text that overflows fp16 within the model gets its fp32 vector, and spoils no other text of its batch."""
    spiked = with_row(model, tmp_path / "model", WEIRD, 1e5)
    encoder, ids = encoder_of(spiked, "fp16"), full_batch()
    sound = encode(encoder, ids)
    ids[5] = np.concatenate([ids[5][:9], [WEIRD], ids[5][10:]]).astype(np.int32)
    vectors = encode(encoder, ids)
    assert encoder.redone == 1
    assert vectors[5].tobytes() == encode(encoder_of(spiked), ids[5:6])[0].tobytes()
    assert np.delete(vectors, 5, 0).tobytes() == np.delete(sound, 5, 0).tobytes()


def test_padded_path_is_computed_again_padded(tiny_mpnet: Path) -> None:
    """Where texts are padded, what is computed again in fp32 is padded too."""
    facts, ids = read_facts(tiny_mpnet), with_weird()
    encoder, wide = ready_on_cpu(facts, "bf16"), ready_on_cpu(facts)
    encoder.forward = Bent(encoder.forward, WEIRD)
    np.testing.assert_allclose(encode(encoder, ids)[5], encode(wide, ids)[5], atol=1e-5)


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_number_in_full_precision_either(tiny_model: Path, tmp_path: Path, precision: str) -> None:
    """What stays NaN in fp32 ends as a `not_finite` reject, and all other documents of the job keep their bytes."""
    sound, _ = embedded(tmp_path / "sound", tiny_model, encoder_of(tiny_model, precision))
    chunks = Chunker(WordTokenizer(tiny_model), 64)(pq.read_table(SOURCE)["text"].to_pylist())
    docs_of = {token: set() for token in range(2000)}
    for doc, ids in zip(chunks.doc.tolist(), ids_of(chunks), strict=True):
        for token in ids.tolist():
            docs_of[token].add(doc)
    token, docs = next((token, docs) for token, docs in docs_of.items() if len(docs) == 2)
    broken = with_row(tiny_model, tmp_path / "model", token, np.nan)
    encoder = encoder_of(broken, precision)
    table, counts = embedded(tmp_path / "out", broken, encoder)
    assert counts.rejects == {"not_finite": 2}
    layout = Layout(tmp_path / "out")
    (part,) = (tmp_path / "out" / "data").iterdir()
    rejects = read_rejects(layout, part.stem.rsplit("-", 1)[1])
    assert [(r["row"], r["reason"]) for r in rejects] == [(doc, "not_finite") for doc in sorted(docs)]
    gone = pc.is_in(sound["doc_id"], pa.array([r["doc_id"] for r in rejects]))
    assert table.equals(sound.filter(pc.invert(gone)))
    assert (encoder.redone >= 2) == (precision != "fp32")
