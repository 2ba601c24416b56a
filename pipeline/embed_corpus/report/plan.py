"""What a run would do, for people and for machines, before anything is embedded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

__all__ = ["Bin", "Estimate", "PlanReport", "Speed"]

_BAR = 18
"""Characters of the longest bar; two charts side by side fit into 80."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its standard error; 0 where it was counted."""

    value: float
    error: float = 0.0

    def scaled(self, factor: float) -> Estimate:
        """Return the estimate of `factor` times the number."""
        return Estimate(self.value * factor, self.error * factor)

    def __str__(self) -> str:
        if not self.error:
            return f"{self.value:,.0f}"
        return f"{_rounded(self.value)} {self.margin}"

    @property
    def margin(self) -> str:
        """Two standard errors, as a share: in 19 of 20 samples the truth lies inside."""
        if not self.error or not self.value:
            return ""
        share = 2 * self.error / self.value
        return f"± {_percent(share)}" if share >= 0.001 else "± under 0.1 %"


@dataclass(frozen=True, slots=True)
class Bin:
    """How many documents or chunks have from `least` to `most` tokens, both included."""

    least: int
    most: int
    count: float


@dataclass(frozen=True, slots=True)
class Speed:
    """Devices of one kind, what one of them did before, and the seconds that one alone would take."""

    devices: tuple[str, ...]
    kind: str
    tokens_per_s: float | None
    whole_run: bool
    seconds: float | None


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a run would do.

    Attributes:
        model: as the user named it, None for the bundled one.
        files, shards, rows: of the input, counted (after --limit).
        read, tokenised: documents whose text was measured, and those that were tokenised.
        documents: rows that can be embedded.
        text_bytes, characters: of their texts, UTF-8.
        tokens: that the model will see: special tokens and prompt included, padding not.
        truncated: documents that --long truncate cuts off.
        document_tokens, chunk_tokens_seen: how long documents and chunks are, in tokens.
        vector_bytes, other_bytes: of one chunk's vector, and of its other columns as they are stored.
        output_bytes: of all parts, about: how well columns compress is seen on the sample alone.
        token_budget, batches: None where the budget is not known before a run has measured it.
        speeds: one entry a kind of device that a run would use.
        seconds: of all devices together; None if the speed of one is not known.
        bench: the command that measures the speed.
    """

    model: str | None
    precision: str
    chunk_tokens: int
    long: str
    vector_type: str
    dim: int
    files: int
    shards: int
    rows: int
    read: int
    tokenised: int
    documents: Estimate
    text_bytes: Estimate
    characters: Estimate
    chunks: Estimate
    tokens: Estimate
    truncated: Estimate
    document_tokens: tuple[Bin, ...]
    chunk_tokens_seen: tuple[Bin, ...]
    vector_bytes: int
    other_bytes: float
    output_bytes: float
    token_budget: int | None
    batches: Estimate | None
    speeds: tuple[Speed, ...]
    seconds: float | None
    bench: str

    @property
    def exact(self) -> bool:
        """Whether every row was tokenised."""
        return not (self.tokens.error or self.documents.error or self.text_bytes.error)

    def to_json(self) -> dict[str, Any]:
        """Return all fields; an estimate is its `value` and its standard `error`."""
        return asdict(self) | {"exact": self.exact}

    def lines(self) -> list[str]:
        """Return the lines of the command."""
        table = [*self._input_lines(), *self._work_lines(), *self._time_lines()]
        width = max(len(value) for _, value, _ in table)
        rows = [f"{name:<10} {value:<{width}}  {note}".rstrip() for name, value, note in table]
        charts = ["", *self._charts()] if self.chunks.value else []
        head = f"{self.model or 'the bundled MiniLM'} in {self.precision}: vectors of {self.dim} dimensions"
        return [head, *rows, *charts, "", *self._basis()]

    def _input_lines(self) -> list[tuple[str, str, str]]:
        where = f"{_counted(self.files, 'file')}, {_counted(self.shards, 'shard')}"
        return [
            ("documents", str(self.documents), f"of {self.rows:,} rows in {where}"),
            ("text", _sized(self.text_bytes), f"{self.characters} characters"),
        ]

    def _work_lines(self) -> list[tuple[str, str, str]]:
        columns = f"a chunk: {self.vector_bytes:,} bytes of {self.vector_type}, {self.other_bytes:,.0f} of the rest"
        lines = [
            ("chunks", str(self.chunks), f"of {self.chunk_tokens} tokens at most"),
            ("tokens", str(self.tokens), "special ones included"),
            ("output", f"about {_bytes(self.output_bytes)}", columns),
        ]
        if self.truncated.value:
            share = _percent(self.truncated.value / self.documents.value)
            lines.insert(1, ("cut off", str(self.truncated), f"documents, {share} of all (--long truncate)"))
        if self.batches:
            lines.append(("batches", str(self.batches), f"of {self.token_budget:,} tokens at most"))
        return lines

    def _time_lines(self) -> list[tuple[str, str, str]]:
        lines = []
        for speed in self.speeds:
            if speed.tokens_per_s is None or speed.seconds is None:
                continue
            how = "whole run" if speed.whole_run else "model alone"
            where = f"one {speed.kind}" if len(self.speeds) > 1 or len(speed.devices) > 1 else speed.kind
            lines.append(("time", _time(speed.seconds), f"at {speed.tokens_per_s:,.0f} tokens/s on {where} ({how})"))
        n_devices = sum(len(speed.devices) for speed in self.speeds)
        if self.seconds is not None and n_devices > 1:
            lines.append(("", _time(self.seconds), f"on all {n_devices} devices together"))
        return lines

    def _charts(self) -> list[str]:
        right = _chart("chunks by tokens", self.chunk_tokens_seen)
        if self.long == "truncate":
            return right  # the first chunk is all that is seen of a document
        left = _chart("documents by tokens", self.document_tokens)
        width = max(map(len, left)) + 4
        return [f"{a:<{width}}{b}".rstrip() for a, b in zip_longest(left, right, fillvalue="")]

    def _basis(self) -> list[str]:
        """Say where the numbers come from, and what is not known."""
        lines = ["every row was tokenised: the counts are exact"]
        if not self.exact:
            lines = [
                f"estimated from {self.tokenised:,} documents tokenised, {self.read:,} measured;",
                "± is two standard errors, what has none was counted",
            ]
        if self.seconds is None:
            lines += ["no speed known for this model on this machine yet:", f"`{self.bench}` measures it"]
        return lines


def _chart(title: str, bins: tuple[Bin, ...]) -> list[str]:
    """Draw one bar a bin, in eighths of a character."""
    total = sum(b.count for b in bins) or 1.0
    most = max((b.count for b in bins), default=1.0)
    width = max((len(f"{b.most:,}") for b in bins), default=1)
    lines = [title]
    for b in bins:
        eighths = max(round(8 * _BAR * b.count / most), 1 if b.count else 0)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        share = _percent(b.count / total) if b.count else ""
        lines.append(f"≤ {b.most:>{width},} {bar:<{_BAR}} {share:>6}")
    return lines


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _rounded(value: float) -> str:
    """Round to three digits: 345, 34,500, 12.3 M, 1.23 G."""
    for size, unit in ((1e9, " G"), (1e6, " M")):
        if value >= size:
            return f"{float(f'{value / size:.3g}'):,g}{unit}"
    return f"{float(f'{value:.3g}'):,.0f}"


def _bytes(value: float) -> str:
    """Write bytes with a decimal unit."""
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{float(f'{value / size:.3g}'):,g} {unit}"
    return f"{value:,.0f} bytes"


def _sized(estimate: Estimate) -> str:
    return f"{_bytes(estimate.value)} {estimate.margin}".rstrip()


def _percent(share: float) -> str:
    """Write a share with two digits below 10 %."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.0995 else f"{100 * share:.1f} %"


def _time(seconds: float) -> str:
    """Write a length of time as one would say it."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min"
    hours = minutes / 60
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
