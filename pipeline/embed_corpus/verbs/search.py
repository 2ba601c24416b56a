"""Ask the index of a result questions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from embed_corpus.errors import UsageError
from embed_corpus.index.check import check_faiss
from embed_corpus.index.search import Hit, open_index
from embed_corpus.index.search import search as find
from embed_corpus.job.output import open_output
from embed_corpus.job.prompts import Prompts
from embed_corpus.verbs.query import QueryEncoder

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from embed_corpus.index.search import OpenIndex

__all__ = ["By", "Hit", "Result", "open_result", "search"]

By = Literal["chunk", "document"]
"""Find the best chunks, or of each document its best chunk alone."""


class Result:
    """An OUT that is open for questions: index and model are loaded once. `open_result` makes one.

    Made to be kept, in a program or a notebook. It answers from the index as it was when it was opened; what a later
    run adds is found by opening again. The model is loaded with the first question.
    """

    def __init__(self, index: OpenIndex, encoder: QueryEncoder) -> None:
        self._index, self._encoder = index, encoder

    @property
    def output(self) -> Path:
        """OUT."""
        return self._index.layout.root

    def __len__(self) -> int:
        """Return the number of chunks to search."""
        return int(self._index.n_rows)

    def __repr__(self) -> str:
        return f"Result({str(self.output)!r}, {len(self):,} chunks)"

    def search(self, query: str, k: int = 10, *, by: By = "chunk", where: Sequence[str] = ()) -> list[Hit]:
        """Return the `k` chunks (or documents) nearest to a query, best first.

        Args:
            query: the question; the query prompt that the run recorded is put before it.
            k: how many to find, at most.
            by: "document": of each document its best chunk alone.
            where: conditions on kept columns that a chunk has to meet, all of them, such as "year > 1990".

        Raises:
            UsageError: the query has no text, or a condition cannot be met; or a part was made again since.
            OutputError: a part is damaged. ModelError: the model is gone.
        """
        return self.search_all([query], k, by=by, where=where)[0]

    def search_all(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        by: By = "chunk",
        where: Sequence[str] = (),
        names: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """Return what `search` does for each of several queries, embedded and searched together.

        `names` are what warnings and errors call the queries; None: by their numbers.
        """
        if isinstance(queries, str):
            raise UsageError("queries: one text is given where several are wanted: use `search`.")
        if not all(text.strip() for text in queries):
            raise UsageError("the query is empty.")
        if isinstance(where, str):
            where = (where,)
        if k < 1 or by not in ("chunk", "document"):
            raise UsageError(f"k = {k}, by = {by!r}: give 1 or more, and chunk or document.")
        if not queries:
            return []
        index = self._index.only(where) if where else self._index  # before a model is loaded
        return find(index, self.embed(queries, names), k, by_document=by == "document")

    def embed(self, queries: Sequence[str], names: Sequence[str] | None = None) -> NDArray[np.float32]:
        """Embed queries as a search does; float32[n, dim]."""
        return self._encoder.embed(queries, names)


def open_result(
    out: str | os.PathLike[str],
    *,
    model: str | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    instruction: str | None = None,
    trust_remote_code: bool = False,
) -> Result:
    """Open the index of an OUT for many questions.

    Args:
        out: the OUT of a run, with an index.
        model: where the job's model lies now, if it has moved.
        prompt_name: put the model's prompt of this name before queries, instead of the one that the run recorded.
        prompt: put this text before them.
        instruction: put `Instruct: ` with this task before them.
        trust_remote_code: run the model's own Python code, as `run` was allowed to.

    Raises:
        UsageError: the folder is no OUT, it has no index, or one of other parts; or FAISS is not installed.
        OutputError: the index is damaged.
    """
    check_faiss()
    opened = open_output(Path(out))
    prompts = Prompts(prompt_name, prompt, instruction)
    return Result(open_index(opened.layout), QueryEncoder(opened, model, prompts, remote_code=trust_remote_code))


def search(
    out: str | os.PathLike[str],
    query: str,
    k: int = 10,
    *,
    by: By = "chunk",
    where: Sequence[str] = (),
    model: str | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
    instruction: str | None = None,
    trust_remote_code: bool = False,
) -> list[Hit]:
    """Return the chunks of an OUT nearest to one query, best first; for several queries use `open_result`.

    See `Result.search` and `open_result` for the arguments, and for what they raise.
    """
    result = open_result(
        out,
        model=model,
        prompt_name=prompt_name,
        prompt=prompt,
        instruction=instruction,
        trust_remote_code=trust_remote_code,
    )
    return result.search(query, k, by=by, where=where)
