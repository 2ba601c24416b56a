"""Judgements, rankings of documents, and what they are worth: nDCG@10, recall@100, MRR@10."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from embed_corpus.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["METRICS", "Qrels", "read_qrels", "scores_of"]

Qrels = dict[str, dict[str, float]]
"""Relevance by query and document; above 0 is relevant."""
METRICS = ("nDCG@10", "recall@100", "MRR@10")


def read_qrels(file: Path) -> Qrels:
    """Read judgements: TREC's `query 0 document relevance`, or TSV `query document relevance` with or without a head.

    Raises:
        DataError: the file cannot be read, or a line is neither.
    """
    qrels: Qrels = {}
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    for number, line in enumerate(lines):
        fields = line.split("\t") if "\t" in line else line.split()
        if not fields:
            continue
        head = number == 0 and len(fields) == 3
        if len(fields) == 4:
            del fields[1]
        try:
            query, document, relevance = fields
            value = float(relevance)
            int(value)  # raises, if it is infinite or no number
            qrels.setdefault(query, {})[document] = value
        except (ValueError, OverflowError) as error:
            if head:
                continue
            raise DataError(
                f"{file}, line {number + 1}: neither `query 0 document relevance` (TREC) nor "
                "`query<TAB>document<TAB>relevance`."
            ) from error
    return qrels


def scores_of(ranking: Sequence[str], judged: Mapping[str, float]) -> tuple[float, float, float]:
    """Return nDCG@10 (gain = relevance, discount = log2 of the rank + 1, as trec_eval), recall@100 and MRR@10.

    `ranking` are document ids, best first; at least one of `judged` is relevant.
    """
    discount = 1 / np.log2(np.arange(2, 12))
    gains = np.array([max(judged.get(doc, 0), 0) for doc in ranking[:10]], float)
    ideal = np.array(sorted((r for r in judged.values() if r > 0), reverse=True)[:10], float)
    ndcg = float(gains @ discount[: len(gains)] / (ideal @ discount[: len(ideal)]))
    relevant = {doc for doc, relevance in judged.items() if relevance > 0}
    recall = len(relevant.intersection(ranking[:100])) / len(relevant)
    first = np.flatnonzero(gains > 0)
    return ndcg, recall, float(1 / (first[0] + 1)) if len(first) else 0.0
