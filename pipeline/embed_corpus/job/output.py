"""Open a finished OUT again: its job, its plan, its model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embed_corpus.data.records import differences
from embed_corpus.errors import DataError, UsageError
from embed_corpus.job.fingerprint import space_record
from embed_corpus.job.prompts import with_document_prompt
from embed_corpus.job.record import JobRecord, LastRun, read_job_file, read_last_run
from embed_corpus.model.facts import ModelFacts, read_facts
from embed_corpus.model.folder import model_folder
from embed_corpus.model.matryoshka import at_dim
from embed_corpus.source.discover import discover
from embed_corpus.source.plan import Plan
from embed_corpus.store.layout import Layout
from embed_corpus.store.notes import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from embed_corpus.data import Shard

__all__ = ["Opened", "open_output"]


@dataclass(frozen=True)
class Opened:
    """An OUT of ours: the record of its job, what the last run noted, and its plan."""

    layout: Layout
    record: JobRecord
    last_run: LastRun
    plan: Plan

    def facts(self, model: str | None = None, *, remote_code: bool = False) -> ModelFacts:
        """Return the facts of the job's model, or of `model` if it is the same one elsewhere, with the job's prompts.

        OUT is data: that the model's own code may be run (`remote_code`) has to be said anew.

        Raises:
            ModelError: the model is gone. UsageError: it is another one.
        """
        space, last = self.record.space, self.last_run
        with_code = space.code is not None
        if with_code and not remote_code:
            raise UsageError("these vectors were made with --trust-remote-code: add it here, too.")
        remote_code = remote_code and with_code
        folder = model_folder(model or last.model, last.revision, code=remote_code)
        facts = read_facts(folder, last.pooling, remote_code=remote_code)
        facts = at_dim(facts, space.dim)
        facts = with_document_prompt(facts, space.prompt)
        facts = replace(facts, query_prompt=last.query_prompt)
        if changed := list(differences(space_record(facts).to_json(), space.to_json())):
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
        asked = self.last_run.format, self.record.text_column
        where = {f.relative: f for f in discover(self.last_run.input, self.layout.root, *asked)[0]}
        if gone := [shard.source for shard in self.plan.shards if shard.source not in where]:
            raise DataError(f"source {gone[0]} is not in {', '.join(self.last_run.input)} any more.")
        found = {shard.id: where[shard.source] for shard in self.plan.shards}
        return {s.id: replace(s, path=found[s.id].path, format=found[s.id].format) for s in self.plan.shards}


def open_output(output: Path) -> Opened:
    """Open an OUT.

    Raises:
        UsageError: the folder is no OUT of embed-corpus, or its notes are damaged.
    """
    layout = Layout(output.absolute())
    try:
        record, last_run = JobRecord.from_json(read_job_file(layout).fields), read_last_run(layout)
        plan = read_json(layout, layout.plans / f"{last_run.plan}.json")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{output} is no result of embed-corpus, or a damaged one ({error}): name the OUT of a run, "
            "or run the same line again."
        ) from error
    return Opened(layout, record, last_run, Plan.from_json(plan))
