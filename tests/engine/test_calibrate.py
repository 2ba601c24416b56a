"""The token budget of a GPU: the search over measured sizes, and what is remembered of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from embed_corpus.engine import calibrate
from embed_corpus.engine.forward import Forward
from embed_corpus.engine.loaded import LoadedModel
from embed_corpus.engine.runner import Runner
from embed_corpus.errors import ModelError
from embed_corpus.model.facts import read_facts
from kit.encoders import loaded_on_cpu

GIB = 1 << 30
Table = dict[int, tuple[float, int]]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> LoadedModel:
    """A model whose longest text has 64 tokens; its device is a table."""
    return loaded_on_cpu(read_facts(tiny_model))


@pytest.fixture(scope="module")
def run(model: LoadedModel) -> Runner:
    """What carries its batches."""
    return model.runner


@pytest.fixture(scope="module")
def layers(model: LoadedModel) -> Forward:
    """Its layers."""
    return model.packed()


def device(monkeypatch: pytest.MonkeyPatch, table: Table, launching: float = 0.0) -> Counter[int]:
    """Let measurements be read from tokens → (tokens/s, peak bytes); what is not there does not fit. Counts them.

    Launching a batch of 4,096 tokens takes the share `launching` of its time, a larger one that much less.
    """
    asked: Counter[int] = Counter()

    def measured(_: Runner, __: Forward, tokens: int) -> calibrate._Seen:
        asked[tokens] += 1
        if tokens not in table:
            raise torch.OutOfMemoryError("made up")
        rate, peak = table[tokens]
        return calibrate._Seen(rate, launching * 4096 / tokens, peak)

    monkeypatch.setattr(calibrate, "_measure", measured)
    monkeypatch.setattr(calibrate, "matrix_rate", lambda _: 1e12)
    return asked


def rates(*thousands: float, first: int = 4096, gib: float = 1.0) -> Table:
    """A table of doubling sizes: their rates, and peaks that double from `gib` on."""
    return {first << i: (1000 * rate, int(gib * GIB) << i) for i, rate in enumerate(thousands)}


@pytest.mark.heavy
def test_stops_when_doubling_gains_little(run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is the last size that brought 2 %, its peak comes with it, and nothing larger is tried."""
    asked = device(monkeypatch, rates(100, 150, 160, 163, 300))
    budget, seen = calibrate._search(run, layers, 1000 * GIB)
    assert (budget, seen[budget].peak) == (16384, 4 * GIB)
    assert sorted(asked) == sorted(seen) == [4096, 8192, 16384, 32768]


def test_two_percent_are_enough(run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gain of just over 2 % is worth doubling; the search ends at the greatest size all the same."""
    device(monkeypatch, rates(*(1.021**i for i in range(8))))
    assert calibrate._search(run, layers, 10**6 * GIB)[0] == calibrate.LAST == 262144


@pytest.mark.parametrize(("thousands", "budget"), [((100, 101, 101, 101, 200), 16384), ((100, 98.5, 96, 96), 8192)])
def test_doubles_for_the_sake_of_the_launching_thread(
    run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch, thousands: tuple[float, ...], budget: int
) -> None:
    """While launching takes a third of the time, doubling need not gain anything; it must not lose 2 %."""
    device(monkeypatch, rates(*thousands), launching=0.8)
    assert calibrate._search(run, layers, 1000 * GIB)[0] == budget


@pytest.mark.parametrize(("free", "budget"), [(17.9, 16384), (17.7, 8192), (9.0, 8192), (8.8, 4096)])
def test_stops_before_memory_ends(
    run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch, free: float, budget: int
) -> None:
    """No size is tried of which the line through the peaks says that it passes 90 % of the free memory."""
    asked = device(monkeypatch, {t: (rate, 4 * t * GIB // 4096) for t, (rate, _) in rates(1, 2, 4, 8).items()})
    assert calibrate._search(run, layers, int(free * GIB))[0] == budget
    assert max(asked) == budget


def test_size_that_does_not_fit_after_one_that_did(
    run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size that does not fit, whatever the line said, ends the search at the one before."""
    device(monkeypatch, rates(1, 2))
    budget, seen = calibrate._search(run, layers, 1000 * GIB)
    assert (budget, seen[budget].peak) == (8192, 2 * GIB)


@pytest.mark.parametrize(("longest", "fits"), [(64, 2048), (64, 512), (64, 64), (3000, 3000)])
def test_goes_down_when_the_first_size_does_not_fit(
    run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch, longest: int, fits: int
) -> None:
    """Where 4,096 tokens are too many the search goes down, to the longest text at least."""
    monkeypatch.setattr(run, "longest", longest)
    device(monkeypatch, {fits: (1.0, GIB)})
    assert calibrate._search(run, layers, 1000 * GIB)[0] == fits


def test_not_even_the_longest_text_fits(run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for no text at all is an error with the device and the remedies."""
    asked = device(monkeypatch, {})
    with pytest.raises(ModelError, match=r"cpu has too little memory for one chunk of 64 tokens: use shorter --chunk"):
        calibrate._search(run, layers, GIB)
    assert min(asked) == 64


def test_begins_at_the_longest_text(run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of more than 4,096 tokens is the smallest size there is."""
    monkeypatch.setattr(run, "longest", 6000)
    asked = device(monkeypatch, rates(1, 2, 2, first=6000))
    assert calibrate._search(run, layers, 1000 * GIB)[0] == 12000
    assert min(asked) == 6000
    device(monkeypatch, {})
    with pytest.raises(ModelError, match="one chunk of 6000 tokens"):
        calibrate._search(run, layers, GIB)


# --- what is remembered --------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache file of the encoder's model on a device with 100 GiB free; neither file nor folder is there yet."""
    file = tmp_path / "budgets" / "0a.json"
    monkeypatch.setattr(calibrate, "_cache_file", lambda *_: file)
    monkeypatch.setattr(calibrate, "_free_memory", lambda _: 100 * GIB)
    return file


def test_measured_once(run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """The budget is measured once and read ever after, as long as its peak fits."""
    asked = device(monkeypatch, rates(1, 2, 2))
    assert [calibrate.calibrate(run, layers).budget for _ in range(3)] == [8192] * 3
    assert set(asked.values()) == {1}
    assert sorted(p.suffix for p in cache.parent.iterdir()) == [".json", ".lock"]
    monkeypatch.setattr(calibrate, "_free_memory", lambda _: 2 * GIB)
    assert calibrate.calibrate(run, layers).budget == 4096
    assert asked[4096] == 2


def test_lowered_budget_is_remembered(
    run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    """A budget that had to be lowered is what the next run begins with."""
    asked = device(monkeypatch, rates(1, 2, 2))
    calibrate.calibrate(run, layers)
    calibrate.remember(run, layers.name, 1234)
    assert calibrate.recalled(run.facts, "cpu", "fp32", 64) == calibrate.Calibration(1234)
    assert calibrate.recalled(run.facts, "cpu", "fp32", 4000) is None  # too little for such texts
    assert calibrate.calibrate(run, layers).budget == 1234
    assert asked[4096] == 1
    tomorrow = calibrate.time.time() + 90_000
    monkeypatch.setattr(calibrate.time, "time", lambda: tomorrow)
    assert calibrate.calibrate(run, layers).budget == 8192  # forgotten after a day


def test_other_layers_measure_anew(run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """What was measured of other layers is no budget of these."""
    asked = device(monkeypatch, rates(1, 2, 2))
    calibrate.calibrate(run, layers)
    monkeypatch.setattr(layers, "name", "others")
    assert calibrate.calibrate(run, layers).budget == 8192
    assert asked[4096] == 2


DAMAGED = ["", "{", "null", "0", "[1]", "7", '{"budget": 5}', '{"budget": "x", "peak": 0}', "é"]
SENSELESS = ['{"budget": 5, "peak": 0}', '{"budget": 1e12, "peak": 0}', '{"budget": 1e999, "peak": 0}']


@pytest.mark.parametrize("content", DAMAGED + SENSELESS)
def test_damaged_cache(
    run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch, cache: Path, content: str
) -> None:
    """A damaged cache file is as good as none, and is mended."""
    cache.parent.mkdir()
    cache.write_text(content)
    device(monkeypatch, rates(1, 2, 2))
    assert calibrate.calibrate(run, layers).budget == 8192
    known = calibrate.recalled(run.facts, "cpu", "fp32", 64)
    assert known == calibrate.Calibration(8192, 2 * GIB, 2000.0, 1e12)


def test_no_place_for_a_cache(run: Runner, layers: Forward, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Without a place to write, the budget is measured each time and nothing else is different."""
    cache.parent.write_text("no folder")
    asked = device(monkeypatch, rates(1, 2, 2))
    assert [calibrate.calibrate(run, layers).budget for _ in range(2)] == [8192] * 2
    calibrate.remember(run, layers.name, 1234)
    assert asked[4096] == 2
