"""Tiny real models, made on the spot, and the command as a user runs it.

Their weights are drawn ten times wider than transformers does: else attention adds next to
nothing to so small a model, and a text that sees its neighbours keeps a cosine of 0.99999.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import settings

from embed_corpus.store.layout import Layout
from kit import forked
from kit.tiny import CORPUS, SIZES, Command, byte_bpe, edit, save_model, unigram, wordpiece

if not torch.cuda.is_available():  # read when Triton is imported: our kernels are tested in its interpreter
    os.environ["TRITON_INTERPRET"] = "1"

# A change is judged by the same examples each time; new ones are looked for on the developers' machines.
settings.register_profile("ci", derandomize=True)
if "CI" in os.environ:
    settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the command, and test_golden.py, which is left as it was first written."""
    for item in items:
        golden = item.path.name == "test_golden.py"
        if golden or item.get_closest_marker("spawn") or "embed_corpus" in getattr(item, "fixturenames", ()):
            item.add_marker("process")
        if golden and "old_out" in item.name:
            item.add_marker("slow")


@pytest.fixture(autouse=True, scope="session")
def _no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail what starts a process where tests with the marker `process` are left out: it lacks the marker."""

    def start(*_: object, **__: object) -> None:
        pytest.fail("starts a process: give it the marker `process`")

    with pytest.MonkeyPatch.context() as patch:
        if "not process" in request.config.option.markexpr:
            patch.setattr(subprocess.Popen, "__init__", start)
            patch.setattr(BaseProcess, "start", start)
        yield


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """The 350 documents of the first Cranfield shard."""
    return pq.read_table(CORPUS / "cranfield-0.parquet")["text"].to_pylist()


@pytest.fixture(scope="session")
def documents(texts: list[str]) -> list[str]:
    """Natural texts of all lengths from 3 to 400 characters."""
    return [text[: 3 + 7 * i % 400] for i, text in enumerate(texts[:210])]


@pytest.fixture(scope="session")
def long_texts() -> list[str]:
    """The long pages of the Python documentation."""
    return pq.read_table(CORPUS / "python-docs.parquet")["text"].to_pylist()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A one-layer random BERT with mean pooling; texts of at most 64 tokens."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        **SIZES,
        max_position_embeddings=64,
    )
    return save_model(tmp_path_factory.mktemp("bert"), BertModel(config).eval(), wordpiece(texts))


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A two-layer random Qwen3 with last-token pooling and grouped heads; texts of at most 128 tokens."""
    from transformers import Qwen3Config, Qwen3Model

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=2000,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=64,
        initializer_range=0.2,
        max_position_embeddings=128,
        pad_token_id=0,
        eos_token_id=0,
    )
    prompts = {"query": "Instruct: find\nQuery:", "document": ""}
    folder = tmp_path_factory.mktemp("qwen3")
    model = Qwen3Model(config).eval()
    return save_model(folder, model, byte_bpe(texts), pooling="lasttoken", max_length=128, prompts=prompts)


@pytest.fixture(scope="session")
def tiny_roberta(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A one-layer random RoBERTa, whose positions count from 2 on, with CLS pooling; 64 tokens at most."""
    from transformers import RobertaConfig, RobertaModel

    torch.manual_seed(0)
    config = RobertaConfig(
        **SIZES,
        max_position_embeddings=66,
        pad_token_id=1,
    )
    folder = tmp_path_factory.mktemp("roberta")
    save_model(folder, RobertaModel(config).eval(), unigram(texts), pooling="cls_token", normalize=False)
    edit(folder, "tokenizer_config.json", pad_token="<pad>")
    return folder


@pytest.fixture(scope="session")
def tiny_mpnet(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> Path:
    """A one-layer random MPNet, which computes its attention itself, with mean pooling; 64 tokens at most."""
    from transformers import MPNetConfig, MPNetModel

    torch.manual_seed(0)
    config = MPNetConfig(
        **SIZES,
        max_position_embeddings=66,
    )
    return save_model(tmp_path_factory.mktemp("mpnet"), MPNetModel(config).eval(), wordpiece(texts))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Run on one thread: for models this small more of them only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty OUT."""
    return Layout(tmp_path / "out")


@pytest.fixture(scope="session")
def embed_corpus() -> Command:
    """Run the command in a process of its own and return it, finished."""
    return forked.command


@pytest.fixture(autouse=True, scope="session")
def _surroundings() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    forked.use()


@pytest.fixture(autouse=True)
def _spawned(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of a test with the marker `spawn` be interpreters of their own."""
    if request.node.get_closest_marker("spawn"):
        monkeypatch.setattr(forked, "start", {})
