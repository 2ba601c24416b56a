"""Nothing that is told holds a secret or moves the terminal's cursor."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_corpus.report.clean import CleanFormatter, clean

SECRET = "S3cretS3cretS3cretS3cret"  # planted
SPELLINGS = [
    f"s3://key:{SECRET}@host/bucket",
    f"https://{SECRET}@hub/x?a=1",
    f"https://host/x?a=1&sig={SECRET}&b=2",
    f"https://host/x?X-Amz-Signature={SECRET}",
    f"https://host/x?X-Amz-Security-Token={SECRET}",
    f"https://host/x?token={SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"hf_{SECRET}",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_secrets_are_left_out(text: str) -> None:
    """Every spelling of a secret is told as ***, and what stands beside it is told as it is."""
    told = clean(f"error: 'a {text}' is gone")
    assert SECRET not in told
    assert "***" in told
    assert told.startswith("error: 'a ")
    assert told.endswith("' is gone")


def test_log_records_are_clean() -> None:
    """The arguments of a log record are told clean, too."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "at %s", ("ftp://me:pw@host\x1b[2J",), None)
    assert CleanFormatter("%(message)s").format(record) == "at ftp://***@host\\x1b[2J"


@given(st.text())
def test_no_control_characters(text: str) -> None:
    """What is told moves no cursor, and plain text is told as it is."""
    told = clean(text)
    assert all(char.isprintable() or char in "\n\t" or ord(char) >= 160 for char in told)
    if text.isprintable() and ":" not in text and "=" not in text:
        assert told == text
