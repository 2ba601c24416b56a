"""Do a model's tokenizer and its weights belong together?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embed_corpus.chunk.compare import check_tokens
from embed_corpus.chunk.tokenizer import tokenizer_of
from embed_corpus.errors import ModelError
from embed_corpus.model.folder import read_json

if TYPE_CHECKING:
    from embed_corpus.chunk.tokenizer import WordTokenizer
    from embed_corpus.model.facts import ModelFacts

__all__ = ["check_fit"]


def check_fit(words: WordTokenizer, facts: ModelFacts, known_ids: int | None) -> None:
    """Refuse a tokenizer that knows ids which the embedding table has no row for, or makes other tokens than it should.

    Every token of a vocabulary counts, whether or not a text is likely to hold it: on a GPU a look-up behind the
    table's end takes the whole device context with it. The modules that a Router has for queries are looked at, too:
    who embeds for days shall not hear of it at the first search. `known_ids` are the rows; None: nobody can tell.

    Raises:
        ModelError: it does.
    """
    from embed_corpus.engine.load import table_rows

    if not facts.table:  # which was compared when it was read, and transformers has no part in it
        _check(words, facts, known_ids)
    if (queries := facts.queries) and not queries.table:
        _check(tokenizer_of(queries), queries, table_rows(queries))


def _check(words: WordTokenizer, facts: ModelFacts, rows: int | None) -> None:
    folder = facts.transformer
    if rows is not None and (beyond := words.from_id(rows)):
        token, number = beyond[0]
        more = f" and {len(beyond) - 1:,} more" if beyond[1:] else ""
        raise ModelError(
            f"model {folder}: its tokenizer knows {token!r} as id {number:,}{more}, but its embedding table has "
            f"{rows:,} rows, for ids up to {rows - 1:,}: they are not of one model, or tokens were added and the table "
            "was not resized. Save the model after resize_token_embeddings(len(tokenizer)), or take the tokens out of "
            "tokenizer.json, tokenizer_config.json, special_tokens_map.json and added_tokens.json."
        )
    if facts.remote_code and read_json(folder, "tokenizer_config.json", default={}).get("auto_map"):
        raise ModelError(
            f"{folder / 'tokenizer_config.json'}: auto_map names Python code of the tokenizer's own, which is not run: "
            "its tokens may be others. Drop --trust-remote-code, or auto_map in a copy if the tokens are the same."
        )
    check_tokens(words, folder)
