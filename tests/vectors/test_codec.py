"""Vector types: the codes that others make of the same vectors, and what comes back of them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embed_corpus.errors import OutputError
from embed_corpus.sink.parts import PartWriter
from embed_corpus.sink.ranges import read_ranges
from embed_corpus.sink.readback import check_part, vectors_of
from embed_corpus.sink.rejects import read_rejects
from embed_corpus.store.layout import Layout
from embed_corpus.vectors.codec import Codec, codec_of
from embed_corpus.vectors.loss import VectorSample
from embed_corpus.vectors.ranges import Ranges
from kit.part_blocks import DIM, FORM, block_of, shard_of, six_rows, the_part, vectors_for, write
from kit.places import at

RANGES = Ranges(np.full(DIM, -1, np.float32), np.linspace(0.9, 1, DIM, dtype=np.float32))
INT8 = replace(FORM, vector_type="int8", ranges=RANGES)


def unit(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Random unit vectors."""
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_codes_are_those_of_sentence_transformers() -> None:
    """int8 and ubinary are its codes to the byte, of vectors in and beyond the ranges."""
    from sentence_transformers.util.quantization import quantize_embeddings  # takes seconds

    sample, vectors = unit(50, 32), np.concatenate([unit(500, 32, 1), 3 * unit(5, 32, 2), np.zeros((1, 32))])
    ranges = Ranges.over(sample)
    ours = Codec("int8", 32, ranges).encode(vectors.astype(np.float32))
    theirs = quantize_embeddings(vectors.astype(np.float32), "int8", calibration_embeddings=sample)
    np.testing.assert_array_equal(ours, theirs)
    assert {-128, 127} <= set(ours.ravel().tolist())
    np.testing.assert_array_equal(Codec("ubinary", 32).encode(vectors), quantize_embeddings(vectors, "ubinary"))


@given(st.lists(st.lists(st.floats(-2, 2, width=32), min_size=8, max_size=8), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_int8_is_off_by_half_a_step(rows: list[list[float]]) -> None:
    """What lies within the ranges comes back to half a step, whatever the ranges; ranges come back from their JSON."""
    vectors = np.array(rows, np.float32)
    ranges = Ranges.over(vectors)
    codec = Codec("int8", 8, ranges)
    assert (np.abs(codec.decode(codec.encode(vectors)) - vectors) <= ranges.step * 0.501 + 1e-6).all()
    assert Ranges.from_json(json.loads(json.dumps(ranges.to_json()))).same(ranges)


def test_ubinary_keeps_signs() -> None:
    """ubinary comes back as unit vectors of the same signs."""
    vectors = unit(20, 24)
    again = Codec("ubinary", 24).decode(Codec("ubinary", 24).encode(vectors))
    np.testing.assert_array_equal(again > 0, vectors > 0)
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("form", "kind", "width"), [(INT8, "int8", 8), (replace(FORM, vector_type="ubinary"), "uint8", 1)]
)
def test_a_part_tells_how_to_read_it(layout: Layout, form: object, kind: str, width: int) -> None:
    """A part alone, by its schema, is enough to have floats again."""
    block = six_rows()
    write(layout, block, form=form)  # type: ignore[arg-type]
    table = pq.read_table(the_part(layout))
    assert str(table.schema.field("embedding").type) == f"fixed_size_list<element: {kind}>[{width}]"
    codec = codec_of(table.schema)
    again = codec.decode(vectors_of(table["embedding"]))
    assert (again * vectors_for(block)).sum(1).min() > (0.99 if kind == "int8" else 0.5)
    check_part(the_part(layout), DIM, 12, normalized=True)
    with pytest.raises(OutputError, match="of dimension 8 read back"):
        check_part(the_part(layout), 16, 12, normalized=True)


def test_codes_of_vectors_that_are_not_finite(layout: Layout) -> None:
    """What is not finite is a reject, though its codes would look like any."""
    block = block_of(shard_of(3), 0, 3)
    vectors = vectors_for(block)
    vectors[3, 1] = np.nan
    writer = PartWriter(block.shard, INT8, layout, "n")
    assert writer.append(block, vectors).rejects == {"not_finite": 1}
    writer.commit()
    assert pq.read_table(the_part(layout))["doc_id"].to_pylist() == ["d0", "d0", "d2", "d2"]
    assert [reject["row"] for reject in read_rejects(layout, block.shard.id)] == [1]


def test_a_wrong_length_is_seen_before_it_is_coded(layout: Layout) -> None:
    """Codes no longer tell that a vector was not of unit length, so that is seen before."""
    block = block_of(shard_of(3), 0, 3)
    writer = PartWriter(block.shard, INT8, layout, "n")
    with pytest.raises(OutputError, match="not of unit length"):
        writer.append(block, vectors_for(block) * np.float32(1.1))
    writer.close()


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"minimum": [0], "maximum": [1]}', '{"minimum": [2, 2], "maximum": [1, 1]}']
)
def test_damaged_ranges(layout: Layout, content: str) -> None:
    """Ranges that cannot be right are refused by name, with the remedy."""
    at(layout.meta).mkdir(parents=True)
    at(layout.ranges).write_text(content)
    with pytest.raises(OutputError, match=r"ranges\.json .*delete it and run the same line again"):
        read_ranges(layout, 2)


# --- the loss ----------------------------------------------------------------------------------


def test_sample_hangs_on_the_shards_alone() -> None:
    """A sample holds what it may, the same whichever shard came first; every part of a shard has its chance."""
    vectors = {name: unit(400, 16, seed) for seed, name in enumerate("ab")}
    kept = []
    for order in ("ab", "ba"):
        sample = VectorSample(Codec("int8", 16, Ranges.over(vectors["a"])), most=100)
        for name in order:
            sample.add(name, vectors[name][:150])
            sample.add(name, vectors[name][150:])
        assert len(sample) == 100
        kept.append({row.tobytes() for row in sample._vectors})
    assert kept[0] == kept[1]
    of_the_last_part = sum(row.tobytes() in kept[0] for row in vectors["b"][150:])
    assert 10 < of_the_last_part < 60


def test_loss() -> None:
    """float16 keeps nearly all neighbours, int8 most, bits some, and ranges that are much too wide cost more."""
    vectors = unit(500, 64) + np.float32(0.3) * unit(500, 64, 1)[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def kept(codec: Codec) -> float:
        sample = VectorSample(codec)
        sample.add("a", vectors)
        return sample.kept()

    fitting, wide = Ranges.over(vectors), Ranges(np.full(64, -50, np.float32), np.full(64, 50, np.float32))
    float16, int8 = kept(Codec("float16", 64)), kept(Codec("int8", 64, fitting))
    ubinary, coarse = kept(Codec("ubinary", 64)), kept(Codec("int8", 64, wide))
    assert float16 > 0.99
    assert 1 > float16 > int8 > 0.95
    assert 0.5 > ubinary > 0.1
    assert 0.5 > coarse > 0.1
