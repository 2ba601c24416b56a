"""The model that a user named, with the prompts they chose."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embed_corpus.chunk.tokenizer import tokenizer_of
from embed_corpus.errors import UsageError
from embed_corpus.model.facts import ModelFacts, read_facts
from embed_corpus.model.folder import model_folder
from embed_corpus.model.matryoshka import resolve_dim
from embed_corpus.vectors.codec import Codec

if TYPE_CHECKING:
    from embed_corpus.job.config import JobConfig

__all__ = ["Prompts", "model_of", "with_document_prompt", "with_query_prompt"]

log = logging.getLogger("embed_corpus")

_INSTRUCTED = re.compile(r"Instruct: .*\n(Query: ?)", re.DOTALL)
"""How models that are told the task want to be: Qwen3-Embedding, e5-mistral, gte-Qwen2; some end with a space."""

_IN_CARDS = {
    r"intfloat/(multilingual-)?e5-(small|base|large)(-v2|-unsupervised)?": ("passage: ", "query: "),
    r"BAAI/bge-(small|base|large)-en(-v1\.5)?": ("", "Represent this sentence for searching relevant passages: "),
    r"BAAI/bge-(small|base|large)-zh(-v1\.5)?": ("", "为这个句子生成表示以用于检索相关文章："),  # noqa: RUF001  # as it stands there
    r"nomic-ai/nomic-embed-text-v1(\.5)?": ("search_document: ", "search_query: "),
}
"""Prompts for documents and queries that the model's card on the hub asks for, by the model's name there."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Which prompt a user chose: by its name in the model's files, as a text, or by an instruction; at most one.

    Raises:
        UsageError: more than one.
    """

    name: str | None = None
    text: str | None = None
    instruction: str | None = None

    def __post_init__(self) -> None:
        options = {"--prompt-name": self.name, "--prompt": self.text, "--instruction": self.instruction}
        given = [option for option, value in options.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} contradict each other: give one.")


def model_of(config: JobConfig) -> ModelFacts:
    """Return the facts of a job's model: its vectors cut as asked for, the job's document prompt and the query prompt.

    Raises:
        ModelError: there is no such model, or its files are broken.
        UsageError: it has no prompt of that name, or its vectors cannot be cut, or not be stored, like that.
    """
    folder = model_folder(config.model, config.revision, code=config.trust_remote_code)
    facts = read_facts(folder, config.pooling, remote_code=config.trust_remote_code)
    facts = resolve_dim(facts, config.dim, forced=config.force_dim)
    if problem := Codec(config.vector_type, facts.dim).problem():
        raise UsageError(f"--vector-type {config.vector_type}: {problem}")
    _warn_of_prompts(config, facts)
    _warn_of_place(facts)
    query = _chosen(facts, Prompts(text=config.query_prompt, instruction=config.instruction), facts.query_prompt)
    document = _chosen(facts, Prompts(config.prompt_name, config.prompt), facts.document_prompt)
    return with_document_prompt(replace(facts, query_prompt=query), document)


def _warn_of_prompts(config: JobConfig, facts: ModelFacts) -> None:
    """Tell what the authors of a well-known model put before texts, where its files do not and the user did not."""
    asked = (config.prompt_name, config.prompt, config.query_prompt, config.instruction)
    if any(facts.prompts.values()) or any(text is not None for text in asked):
        return
    for name, (document, query) in _IN_CARDS.items():
        if re.search(rf"(^|/){name}/?$", config.model or "", re.IGNORECASE):
            log.warning(
                "%s: its card, not its files, asks for prompts. Add --prompt %r --query-prompt %r; --prompt '' to do "
                "without.",
                config.model,
                document,
                query,
            )


def _warn_of_place(facts: ModelFacts) -> None:
    """Tell where the Transformer lies if it is not the model's own folder: files of its names there mislead."""
    if facts.queries or facts.table or facts.transformer == facts.folder:
        return
    place = facts.transformer.relative_to(facts.folder)
    log.warning("%s: the Transformer's files are read from %s, as modules.json says", facts.folder, place)


def with_document_prompt(facts: ModelFacts, prompt: str) -> ModelFacts:
    """Put another prompt before the documents."""
    return replace(facts, document_prompt=prompt, left_out=_left_out(facts, prompt))


def with_query_prompt(facts: ModelFacts, chosen: Prompts) -> ModelFacts:
    """Return the facts for embedding queries as if they were documents: their modules and prompt in place of those.

    Raises:
        UsageError: the model has no prompt of that name.
    """
    return with_document_prompt(facts.queries or facts, _chosen(facts, chosen, facts.query_prompt))


def _chosen(facts: ModelFacts, chosen: Prompts, default: str) -> str:
    if chosen.text is not None:
        return chosen.text
    if chosen.instruction is not None:
        own = (match for prompt in facts.prompts.values() if (match := _INSTRUCTED.fullmatch(prompt)))
        ending = next((match[1] for match in own), "Query:")
        return f"Instruct: {chosen.instruction}\n{ending}"
    if chosen.name is None:
        return default
    if chosen.name not in facts.prompts:
        known = f"it has {', '.join(facts.prompts)}" if facts.prompts else "its files name none"
        raise UsageError(f"the model has no prompt named {chosen.name!r}: {known}. Give the text itself with --prompt.")
    return facts.prompts[chosen.name]


def _left_out(facts: ModelFacts, prompt: str) -> int:
    """Return the tokens at a text's begin that pooling leaves out: the special ones, and those of the prompt alone.

    How many of its tokens the prompt shares with the text behind it is not looked at, as in sentence-transformers.
    """
    if facts.include_prompt or not prompt:
        return 0
    tokenizer = tokenizer_of(facts)
    return len(tokenizer.prefix) + sum(len(encoded.ids) for encoded in tokenizer.encode([prompt]))
