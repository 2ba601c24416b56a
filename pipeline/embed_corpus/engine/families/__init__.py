"""What is known of families of architectures beyond what transformers knows: one entry in a table each.

A family with fused layers has a module here. Its `fuse` gives a model's layers a form of our own, with everything
between two matrix products in one pass: from the weights of transformers' own modules, with which the self-test
compares it before the first batch. Without kernels (CPU, no compiler) the same code runs on plain torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from embed_corpus.engine.packed import Packed

__all__ = ["FAMILIES", "Family", "family_of", "fuse", "with_fp8"]


@dataclass(frozen=True, slots=True)
class Family:
    """Architectures of one kind.

    Attributes:
        name: for people.
        model_types: transformers' names for its members.
        fused_in: the module here that fuses its layers; empty: there is none.
        fused: names of the classes that it may fuse.
        fp8: fused, its layers run in fp8 too.
        half: the 16-bit type that is closest to fp32, on GPUs that have both.
        encoder_halves: class of transformers to load in place of the usual one, by model type: only that half embeds.
    """

    name: str
    model_types: frozenset[str]
    fused_in: str = ""
    fused: frozenset[str] = frozenset()
    fp8: bool = False
    half: str = "bf16"
    encoder_halves: dict[str, str] = field(default_factory=dict)


_BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "ernie", "albert", "modernbert")
FAMILIES = (
    Family(
        "BERT",
        frozenset(_BERT_LIKE),
        fused_in="bert",
        fused=frozenset({"BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel"}),
        half="fp16",
    ),
    Family("Qwen3", frozenset({"qwen3"}), fused_in="qwen3", fused=frozenset({"Qwen3Model"}), fp8=True),
    Family(
        "T5",
        frozenset({"t5", "mt5", "umt5"}),
        encoder_halves={"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"},
    ),
)
_OTHER = Family("", frozenset())


def family_of(model_type: str) -> Family:
    """Return a model type's family; one about which nothing is known, for all others."""
    return next((family for family in FAMILIES if model_type in family.model_types), _OTHER)


def fuse(model: Any, *, fp8: bool = False) -> Callable[[Packed], Tensor] | None:
    """Return the fused form of a transformers model, or None if its architecture has none here.

    It returns the last hidden states, [T, H], or just those that pooling reads, [N, H].
    """
    kind = type(model).__name__
    family = next((family for family in FAMILIES if kind in family.fused), _OTHER)
    if not family.fused_in:
        return None
    fused: Callable[[Packed], Tensor] | None
    fused = import_module(f"{__name__}.{family.fused_in}").fuse(model, fp8=fp8)  # it needs torch, the table does not
    return fused


def with_fp8() -> str:
    """Name the families whose layers run in fp8."""
    return " and ".join(f"{family.name}'s" for family in FAMILIES if family.fp8)
