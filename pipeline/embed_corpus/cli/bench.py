"""`embed-corpus bench`: the encoder alone, on this machine."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from embed_corpus.errors import EmbedCorpusError
from embed_corpus.model.facts import POOLINGS

__all__ = ["command"]


@click.command("bench")
@click.argument("inputs", nargs=-1, metavar="[INPUT...]")
@click.option("--model", metavar="NAME", help="As in `run`.  [default: the MiniLM of the demo extra]")
@click.option("--revision", metavar="COMMIT", help="As in `run`.")
@click.option("--trust-remote-code", is_flag=True, help="As in `run`.")
@click.option("--pooling", type=click.Choice(POOLINGS), help="As in `run`.")
@click.option("--text-column", multiple=True, default=("text",), metavar="COLUMN", help="As in `run`.")
@click.option("--chunk-tokens", type=click.IntRange(1), metavar="N", help="As in `run`.")
@click.option(
    "--devices", default="all", show_default=True, metavar="all|cpu|0", help="The first of these is measured."
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "fp16", "bf16", "fp8"]),
    default="auto",
    show_default=True,
    help="As in `run`.",
)
@click.option("--batch-tokens", type=click.IntRange(1), metavar="N", help="As in `run`.")
@click.option("--compile/--no-compile", default=True, help="As in `run`.")
@click.option(
    "--tokens", type=click.IntRange(1), metavar="N", help="Tokens of a pass.  [default: 2,000,000; 20,000 on a CPU]"
)
@click.option("--rounds", type=click.IntRange(0), default=3, show_default=True, help="Timed passes; the median counts.")
@click.option("--check-reproducible", is_flag=True, help="Compare bits over orders, budgets and fresh processes.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
def command(inputs: tuple[str, ...], *, rounds: int, check_reproducible: bool, as_json: bool, **options: Any) -> None:
    """Time the model over chunks of INPUT (or made-up ones): tokens/s, share of what the device can do, memory.

    \b
    embed-corpus bench --model Qwen/Qwen3-Embedding-0.6B
    embed-corpus bench corpus/ --model BAAI/bge-base-en-v1.5 --check-reproducible

    Reading and tokenising are not timed. Ends with exit code 1 if bits differ.
    """
    begin = time.perf_counter()
    from embed_corpus.job.speeds import note_rate
    from embed_corpus.verbs.bench import measure, pack, prepare_bench
    from embed_corpus.verbs.reproduce import digest_of, in_order

    encoder, chunks, notes = prepare_bench(inputs, **options)
    batches, how = pack(encoder, chunks), encoder.runner
    encoder.encode(batches[0])
    result: dict[str, Any] = {
        "device": str(how.device),
        "precision": how.precision,
        "layers": encoder.forward.name,
        "token_budget": encoder.token_budget,
        "notes": notes,
        "first_batch_s": round(time.perf_counter() - begin, 1),
        "digest": digest_of(in_order(encoder, chunks)),
    }
    if rounds:
        measured = measure(encoder, batches, rounds)
        result |= measured.to_json()
        if options["compile"] and options["batch_tokens"] is None:  # as a run does it: `plan` may go by it
            key = how.facts, how.precision, str(how.device), how.longest
            note_rate(*key, measured.tokens_per_s, encoder.token_budget)
    if not as_json:
        click.echo("\n".join(_lines(result)))
    differ = _check(encoder, chunks, result, quiet=as_json) if check_reproducible else []
    if as_json:
        click.echo(json.dumps(result))
    if differ:
        raise EmbedCorpusError(f"vectors are not bit-reproducible on this machine: {', '.join(differ)}.")


def _lines(result: dict[str, Any]) -> list[str]:
    how = f"{result['precision']} on {result['device']}, {result['layers']}"
    lines = [
        *(f"note: {note}" for note in result["notes"]),
        f"{how}; batches of {result['token_budget']:,} tokens",
        f"first batch {result['first_batch_s']} s after the start",
    ]
    if "tokens_per_s" in result:
        share = result["flops_per_s"] / result["matrix_rate"]
        lines.append(
            f"{result['tokens_per_s']:,.0f} tokens/s, {share:.0%} of the device's matrix rate "
            f"({result['matrix_rate'] / 1e12:,.1f} TFLOP/s); {result['fill']:.1%} of a batch is real, "
            f"{result['memory'] / 2**30:.1f} GiB at most"
        )
    return lines


def _check(encoder: Any, chunks: Any, result: dict[str, Any], *, quiet: bool) -> list[str]:
    """Note in the result, for each comparison, whether bits are the same; return those that differ."""
    from embed_corpus.verbs.reproduce import same_bits

    arguments = [a for a in sys.argv[sys.argv.index("bench") + 1 :] if a not in ("--check-reproducible", "--json")]
    result["same_bits"] = {}
    for name, same in same_bits(encoder, chunks, arguments):
        result["same_bits"][name] = same
        if not quiet:
            click.echo(f"{'same bits' if same else 'DIFFERENT':<10} {name}")
    return [name for name, same in result["same_bits"].items() if not same]
