"""A model's weights on a device, before anything is known of how they run there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from embed_corpus.engine.ceiling import Arithmetic
from embed_corpus.engine.forward import Forward, make_forward
from embed_corpus.engine.load import DTYPES, load_model, position_offset
from embed_corpus.engine.padded import PaddedLayers
from embed_corpus.engine.runner import Runner
from embed_corpus.engine.table import TableRows
from embed_corpus.errors import ModelError

if TYPE_CHECKING:
    from embed_corpus.model.facts import ModelFacts

__all__ = ["LoadedModel"]


class LoadedModel:
    """transformers' model on its device, and the ways in which its layers can run.

    It is let go of when an encoder was made of it, which keeps the layers that it uses and nothing else.

    Attributes:
        module: transformers' model.
        runner: what carries batches over the device.
        arithmetic: what a pass costs.
    """

    def __init__(
        self, facts: ModelFacts, device: str, precision: str, longest: int | None = None, *, module: Any = None
    ) -> None:
        """Load the weights, unless a `module` is handed over that lies on the device already.

        `longest` is the most tokens that a text may have; None: the model's limit.

        Raises:
            ModelError: weights missing or unreadable.
        """
        place = torch.device(device)
        if place.type == "cuda":
            place = torch.device("cuda", place.index or 0)
            torch.cuda.set_device(place)  # where Triton launches
        self.module: Any = load_model(facts, DTYPES[precision], place) if module is None else module
        self.runner = Runner(facts, place, precision, longest or facts.max_tokens, position_offset(self.module))
        self.arithmetic = Arithmetic.of(self.module)

    @property
    def known_ids(self) -> int | None:
        """Rows of the embedding table; None of a StaticEmbedding's, which was compared when it was read."""
        return None if self.runner.facts.table else int(self.module.get_input_embeddings().weight.shape[0])

    def packed(self, *, compiled: bool = True) -> Forward:
        """Return the fastest way for packed texts; not `compiled`: transformers' own layers as they are.

        Raises:
            ModelError: fp8 where the layers have none.
        """
        run, facts = self.runner, self.runner.facts
        if facts.table:
            return TableRows(self.module, facts.table)
        not_the_first = facts.pooling == "cls" and facts.left_out
        pooling = "" if not_the_first else facts.pooling
        return make_forward(self.module, run.precision, run.device, run.longest, pooling=pooling, compiled=compiled)

    def padded(self, token_budget: int) -> PaddedLayers:
        """Return the way for texts that are padded, in passes of at most so many tokens.

        Raises:
            ModelError: the precision is fp8, which only packed layers have.
        """
        if self.runner.precision == "fp8":
            raise ModelError("fp8 needs the packed path, which this model cannot take: use --precision auto.")
        return PaddedLayers(self.module, self.runner.longest, token_budget, self.runner.pooled)
