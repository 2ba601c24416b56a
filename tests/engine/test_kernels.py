"""Each Triton kernel against plain fp64 arithmetic; on a machine without a GPU in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"  # conftest.py turns the interpreter on where there is no GPU

from embed_corpus.engine import ops  # noqa: E402
from embed_corpus.engine.kernels import norms, rows  # noqa: E402
from embed_corpus.engine.kernels.attention import flash_attention, make_tiles, tile_rows  # noqa: E402

# numpy, in the interpreter, about lanes that are masked or hold the NaN that a test put there
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, torch.float16)


def tiles_for(lengths: list[int], heads: int, key_heads: int, size: int) -> torch.Tensor:
    edges = np.cumsum([0, *lengths]).astype(np.int32)
    per_tile = tile_rows(heads, key_heads, size, 512)
    assert per_tile is not None
    capacity = sum(-(-n // per_tile) for n in lengths) + 2
    return torch.from_numpy(make_tiles(edges, per_tile, capacity)).to(DEVICE)


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, causal: bool, window: int) -> torch.Tensor:
    n, heads = q.shape[:2]
    k, v = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q.double(), k.double()) * q.shape[2] ** -0.5
    back = torch.arange(n)[:, None] - torch.arange(n)
    hidden = (back < 0) if causal else torch.zeros_like(back, dtype=torch.bool)
    hidden |= (back.abs() >= window) if window else False
    scores.masked_fill_(hidden.to(scores.device), -torch.inf)
    return torch.einsum("hqk,khd->qhd", scores.softmax(-1), v.double())


def assert_near(packed: torch.Tensor, scales: torch.Tensor, expected: torch.Tensor) -> None:
    """e4m3 has three bits behind the point; the interpreter gets 1 in 100 of its roundings wrong, a GPU none."""
    off = (packed.double() * scales.double() - expected).abs() > expected.abs() / 14 + scales.double()
    assert off.double().mean() <= (0 if DEVICE == "cuda" else 0.03)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("heads", "key_heads", "size", "causal", "window"),
    [(4, 2, 32, True, 0), (2, 2, 64, False, 0), (3, 1, 16, True, 0), (4, 1, 32, True, 40), (2, 2, 32, False, 40)],
)
def test_attention_is_that_of_each_text_alone(heads: int, key_heads: int, size: int, causal: bool, window: int) -> None:
    lengths = [5, 130, 1, 64, 200]
    qkv = random(sum(lengths) + 3, heads + 2 * key_heads, size)
    q, k, v = qkv.split([heads, key_heads, key_heads], dim=1)
    out = flash_attention(q, k, v, tiles_for(lengths, heads, key_heads, size), 512, size**-0.5, causal, window)
    begin = 0
    for n in lengths:
        own = slice(begin, begin := begin + n)
        expected = reference(q[own], k[own], v[own], causal=causal, window=window)
        torch.testing.assert_close(out[own].double(), expected, atol=2e-3, rtol=2e-3)


def test_a_text_has_the_same_bits_wherever_it_lies_and_whatever_lies_beside_it() -> None:
    text, other = random(70, 4, 32), random(100, 4, 32, seed=1)
    other[3] = torch.nan
    alone = flash_attention(text, text, text, tiles_for([70], 4, 4, 32), 512, 0.2, False, 0)
    both = torch.cat([other, text, other])
    among = flash_attention(both, both, both, tiles_for([100, 70, 100], 4, 4, 32), 512, 0.2, False, 0)
    assert torch.equal(alone[:70], among[100:170])


def test_tiles_cover_every_row_once_and_the_heaviest_come_first() -> None:
    edges = np.array([0, 300, 300, 310, 822], np.int32)
    tiles = make_tiles(edges, 64, 20)
    covered = [begin + row for begin, end, first in tiles.T for row in range(first, min(first + 64, end - begin))]
    assert sorted(covered) == list(range(822))
    assert tiles[2, 0] == 448


def test_add_rms_norm_keeps_the_sum_and_returns_it_normalised() -> None:
    x, residual, weight = random(7, 100), random(7, 100, seed=1), random(100, seed=2)
    total = (x.float() + residual.float()).half()
    wide = total.double()
    expected = wide / (wide.square().mean(1, keepdim=True) + 1e-6).sqrt() * weight.double()
    torch.testing.assert_close(norms.add_rms_norm(x, residual, weight, 1e-6).double(), expected, atol=5e-3, rtol=2e-3)
    assert torch.equal(residual, total)


def test_add_rms_norm_in_fp8_carries_a_scale_for_each_row() -> None:
    x, weight = random(7, 100), random(100, seed=2)
    plain = norms.add_rms_norm(x, None, weight, 1e-6).double()
    packed, scales = norms.add_rms_norm(x, None, weight, 1e-6, fp8=True)
    assert_near(packed, scales, plain)
    torch.testing.assert_close(scales[:, 0].double(), plain.abs().amax(1) / 448, rtol=1e-3, atol=0)


def test_add_layer_norm() -> None:
    x, residual, weight, bias = random(7, 100), random(7, 100, seed=1), random(100, seed=2), random(100, seed=3)
    out = norms.add_layer_norm(x, residual, weight, bias, 1e-12)
    expected = torch.nn.functional.layer_norm((x + residual).double(), (100,), weight.double(), bias.double(), 1e-12)
    torch.testing.assert_close(out.double(), expected, atol=5e-3, rtol=2e-3)


def test_embed_layer_norm() -> None:
    """BERT's embeddings: three tables' rows added and normalised."""
    words, places, kinds = random(50, 100), random(20, 100, seed=1), random(2, 100, seed=2)
    weight, bias = random(100, seed=3), random(100, seed=4)
    ids, positions = (torch.arange(9, dtype=torch.int32, device=DEVICE) * n for n in (5, 2))
    out = norms.embed_layer_norm(ids, positions, (words, places, kinds), weight, bias, 1e-12)
    total = ((words[ids.long()] + kinds[0]) + places[positions.long()]).double()
    expected = torch.nn.functional.layer_norm(total, (100,), weight.double(), bias.double(), 1e-12)
    torch.testing.assert_close(out.double(), expected, atol=5e-3, rtol=2e-3)


def test_silu_mul() -> None:
    both = random(7, 200)
    gate, up = both.double().chunk(2, 1)
    expected = gate / (1 + (-gate).exp()) * up
    torch.testing.assert_close(rows.silu_mul(both).double(), expected, atol=5e-3, rtol=2e-3)
    packed, scales = rows.silu_mul(both, fp8=True)
    assert_near(packed, scales, expected)


def test_gelu_is_the_exact_one() -> None:
    x = random(3, 1000).float() * 3
    expected = torch.nn.functional.gelu(x.double())
    torch.testing.assert_close(rows.gelu(x).double(), expected, atol=1e-6, rtol=0)


def test_norm_rope_normalises_and_turns_queries_and_keys_and_leaves_values() -> None:
    qkv, q_weight, k_weight = random(20, (3 + 2) * 8), random(8, seed=1), random(8, seed=2)
    turn = torch.arange(20.0)[:, None] * torch.tensor([1.0, 0.3, 0.1, 0.01])
    cos, sin = turn.cos().to(DEVICE), turn.sin().to(DEVICE)
    before = qkv.double().view(20, 5, 8)
    norms.norm_rope(qkv, (3, 1), (q_weight, k_weight), 1e-6, (cos, sin))
    unit = before / (before.square().mean(2, keepdim=True) + 1e-6).sqrt()
    unit = unit * torch.stack([q_weight] * 3 + [k_weight] * 2).double()
    a, b = unit.chunk(2, 2)
    c, s = cos[:, None].double(), sin[:, None].double()
    expected = torch.cat([a * c - b * s, b * c + a * s], 2)
    expected[:, 4] = before[:, 4]
    torch.testing.assert_close(qkv.double().view(20, 5, 8), expected, atol=5e-3, rtol=2e-3)


@pytest.mark.parametrize("left_out", [0, 3])
@pytest.mark.parametrize("mode", ["mean", "weightedmean", "max"])
def test_pool_rows_of_each_text(mode: str, left_out: int) -> None:
    """Kernel and plain torch agree with fp64, whatever is left out at a text's begin."""
    x, edges = random(150, 130), torch.tensor([0, 33, 37, 150], dtype=torch.int32, device=DEVICE)
    place = torch.arange(1.0, 151.0, dtype=torch.float64)[:, None]
    expected = []
    for a, b in ((0, 33), (33, 37), (37, 150)):
        kept, weights = x[a + left_out : b].double().cpu(), place[left_out : b - a]
        weighted = (kept * weights).sum(0) / weights.sum()
        expected.append({"mean": kept.mean(0), "max": kept.amax(0), "weightedmean": weighted}[mode])
    for out in (rows.pool_rows(x, edges, mode, left_out), ops.pool_rows(x, edges, mode, left_out)):
        torch.testing.assert_close(out.double().cpu(), torch.stack(expected), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("mode", ["mean", "weightedmean", "max"])
def test_pool_rows_keeps_what_is_not_finite(mode: str) -> None:
    """A text with a token that is NaN or infinite has no finite number there, so that it is noticed; others have."""
    x, edges = random(30, 130), torch.tensor([0, 10, 20, 30], dtype=torch.int32, device=DEVICE)
    x[3, 7], x[15, 9] = float("nan"), float("inf")
    finite = rows.pool_rows(x, edges, mode).isfinite()
    assert not finite[0, 7]
    assert not finite[1, 9]
    assert finite.sum() == finite.numel() - 2


def test_mean_of_an_empty_text() -> None:
    """Capacities are filled up with empty texts, whose mean is 0."""
    out = rows.pool_rows(random(9, 130), torch.tensor([0, 9, 9], dtype=torch.int32, device=DEVICE), "mean")
    assert (out[1] == 0).all()


def test_unit_rows() -> None:
    x = random(5, 130).float()
    torch.testing.assert_close(norms.unit_rows(x.clone()).double(), torch.nn.functional.normalize(x.double()))
    assert norms.unit_rows(torch.zeros(1, 4, device=DEVICE)).isnan().all()
