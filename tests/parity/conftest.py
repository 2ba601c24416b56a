"""Tokenizers, each trained once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from parity.kinds import KINDS
from parity.texts import training
from parity.zoo import ZOO, build

Build = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Run on one thread: for models this small more of them only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def trained(texts: list[str]) -> Callable[[str], Tokenizer]:
    """Gives a tokenizer by the name of its kind."""
    return cache(lambda kind: KINDS[kind].train(training(texts[:100])))


@pytest.fixture(scope="session")
def bred(trained: Callable[[str], Tokenizer], tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Gives the folder of a tiny model by the name of its breed."""
    return cache(lambda name: build(name, tmp_path_factory.mktemp(name), trained(ZOO[name].kind)))
