"""Open a finished OUT again: its job, its plan, its model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from embed_corpus.errors import DataError, UsageError
from embed_corpus.job.fingerprint import differences, space_fields
from embed_corpus.job.prompts import with_document_prompt
from embed_corpus.model.facts import ModelFacts, read_facts
from embed_corpus.model.folder import model_folder
from embed_corpus.model.matryoshka import at_dim
from embed_corpus.source.columns import Columns
from embed_corpus.source.discover import discover
from embed_corpus.source.plan import Plan
from embed_corpus.store.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

    from embed_corpus.data import Shard

__all__ = ["Opened", "open_output"]


@dataclass(frozen=True)
class Opened:
    """An OUT of ours: the job's fields, what the last run noted, and its plan."""

    layout: Layout
    fields: dict[str, Any]
    noted: dict[str, Any]
    plan: Plan

    @property
    def columns(self) -> Columns:
        """The input columns of the job."""
        keep = tuple(self.fields["keep"])
        return Columns(tuple(self.fields["text_column"]), self.fields["id_column"], keep)

    def facts(self, model: str | None = None, *, remote_code: bool = False) -> ModelFacts:
        """Return the facts of the job's model, or of `model` if it is the same one elsewhere, with the job's prompts.

        OUT is data: that the model's own code may be run (`remote_code`) has to be said anew.

        Raises:
            ModelError: the model is gone. UsageError: it is another one.
        """
        with_code = "code" in self.fields["space"]
        if with_code and not remote_code:
            raise UsageError("these vectors were made with --trust-remote-code: add it here, too.")
        remote_code = remote_code and with_code
        folder = model_folder(model or self.noted["model"], self.noted["revision"], code=remote_code)
        facts = read_facts(folder, self.noted.get("pooling"), remote_code=remote_code)
        facts = at_dim(facts, self.fields["space"]["dim"])
        facts = with_document_prompt(facts, self.fields["space"]["prompt"])
        facts = replace(facts, query_prompt=self.noted["query_prompt"])
        if changed := list(differences(space_fields(facts), self.fields["space"])):
            raise UsageError(
                f"the model in {folder} is not the one that made these vectors; what differs:\n  "
                + "\n  ".join(changed)
            )
        return facts

    def located(self) -> dict[str, Shard]:
        """Return the plan's shards by id, each with the place of its source on this machine.

        Raises:
            DataError: the input of the last run is not where it was.
        """
        asked = self.noted.get("format"), self.columns.text
        where = {f.relative: f for f in discover(self.noted["input"], self.layout.root, *asked)[0]}
        if gone := [shard.source for shard in self.plan.shards if shard.source not in where]:
            raise DataError(f"source {gone[0]} is not in {', '.join(self.noted['input'])} any more.")
        found = {shard.id: where[shard.source] for shard in self.plan.shards}
        return {s.id: replace(s, path=found[s.id].path, format=found[s.id].format) for s in self.plan.shards}


def open_output(output: Path) -> Opened:
    """Open an OUT.

    Raises:
        UsageError: the folder is no OUT of embed-corpus, or its notes are damaged.
    """
    layout = Layout(output.absolute())
    try:
        fields = json.loads(layout.job.read_text(encoding="utf8"))["fields"]
        noted = json.loads(layout.current_run.read_text(encoding="utf8"))
        plan = json.loads((layout.plans / f"{noted['plan']}.json").read_text(encoding="utf8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{output} is no result of embed-corpus, or a damaged one ({error}): name the OUT of a run, "
            "or run the same line again."
        ) from error
    return Opened(layout, fields, noted, Plan.from_json(plan))
