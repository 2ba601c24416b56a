"""Judge the search in a result by relevance judgements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embed_corpus.index.check import check_faiss
from embed_corpus.index.evaluate import Evaluation
from embed_corpus.index.evaluate import evaluate as judged
from embed_corpus.index.judgements import read_qrels
from embed_corpus.index.search import open_index
from embed_corpus.job.output import open_output
from embed_corpus.job.prompts import Prompts
from embed_corpus.verbs.queries import read_queries
from embed_corpus.verbs.query import QueryEncoder

if TYPE_CHECKING:
    import os

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Evaluation", "evaluate"]


def evaluate(
    out: str | os.PathLike[str],
    queries: str | os.PathLike[str],
    qrels: str | os.PathLike[str],
    *,
    model: str | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    instruction: str | None = None,
    trust_remote_code: bool = False,
) -> Evaluation:
    """Tell nDCG@10, recall@100 and MRR@10 of exact search and of the index, each document ranked by its best chunk.

    `out` has an index; `queries` is a JSONL or Parquet file with the columns id and text; `qrels` is a file of
    judgements: TREC's `query 0 document relevance`, or TSV `query document relevance`. The rest is as in `open_result`.

    Raises:
        DataError: a file cannot be read, no query is judged, or no relevant document is in OUT.
        UsageError: the folder is no OUT, has no index, or one of other parts. OutputError: damage.
        ModelError: the model is gone.
    """
    check_faiss()
    judgements = read_qrels(Path(qrels))
    ids, texts = read_queries(Path(queries))
    opened = open_output(Path(out))
    index = open_index(opened.layout)  # before a model is loaded
    prompts = Prompts(prompt_name, prompt, instruction)
    encoder = QueryEncoder(opened, model, prompts, remote_code=trust_remote_code)

    def embed(which: list[int]) -> NDArray[np.float32]:
        return encoder.embed([texts[i] for i in which], [ids[i] for i in which])

    return judged(index, ids, embed, judgements)
