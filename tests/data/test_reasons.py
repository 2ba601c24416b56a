"""Why a row is rejected."""

from __future__ import annotations

import json
import pickle

import pytest

from embed_corpus.data import Counts, Reason, Reject


@pytest.mark.parametrize("reason", Reason)
def test_reasons_are_text_on_record(reason: Reason) -> None:
    """A reason is written as its value alone, and what was read back counts as the same."""
    record = json.dumps(Reject("a.jsonl", 0, reason).to_json())
    assert f'"reason": "{reason.value}"' in record
    read = Counts(rejects=json.loads(json.dumps(Counts(rejects={reason: 1}).in_part()))["rejects"])
    assert (read + Counts(rejects={reason: 1})).rejects == {reason: 2}
    assert f"{reason}" == reason.value


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    """Each says what it means, also once it has crossed a process boundary."""
    assert pickle.loads(pickle.dumps(reason)) is reason
    assert len(reason.sentence.split()) > 3
