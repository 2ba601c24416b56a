"""What is told to the user, without secrets and without control characters."""

from __future__ import annotations

import logging
import re

__all__ = ["CleanFormatter", "clean"]

_SECRETS = (
    re.compile(r"(?<=://)[^/\s@'\"]+(?=@)"),  # user:password@ in a URL
    re.compile(r"(?<=:/)(?!/)[^/\s@'\"]+(?=@)"),  # the same in a URL that was taken for a path
    re.compile(r"(?i)(?<=[?&](?:sig|key)=)[^&\s'\"]+"),
    re.compile(r"(?i)(?<=[?&]token=)[^&\s'\"]+"),
    re.compile(r"(?i)(?<=signature=)[^&\s'\"]+"),
    re.compile(r"(?i)(?<=security-token=)[^&\s'\"]+"),
    re.compile(r"(?i)(?<=bearer )[^\s'\"]+"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),  # AWS
    re.compile(r"\bhf_[A-Za-z0-9]{20,}\b"),  # Hugging Face
)
_CONTROL = {i: f"\\x{i:02x}" for i in (*range(32), *range(127, 160)) if chr(i) not in "\n\t"}


def clean(text: str) -> str:
    """Put *** in the place of secrets and \\xNN in that of control characters, which a file's name may hold."""
    for pattern in _SECRETS:
        text = pattern.sub("***", text)
    return text.translate(_CONTROL)


class CleanFormatter(logging.Formatter):
    """Formats log records clean, whoever wrote them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text."""
        return clean(super().format(record))
