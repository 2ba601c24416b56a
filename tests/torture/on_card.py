"""What only a real GPU can show: a context that is lost, a device that is retired, memory that is gone.

PYTHONPATH=pipeline:tests python -m torture.on_card --devices 0,1 --model MINILM --corpus FILE.parquet

Prints a line a scenario, then one of JSON; ends with 1 if anything broke. With `--devices cpu` the faults are made up.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARDS = 16
# Workers are spawned and import this again: so what is to happen comes to them. Loader processes are left alone.
if __name__ == "__mp_main__" and multiprocessing.current_process().name.startswith("embed-"):
    from torture import patches

    getattr(patches, os.environ["TORTURE_PATCH"])()


def divided(corpus: Path, folder: Path, rows: int | None) -> Path:
    """Write the first rows of a Parquet file as several, so that there are shards for all devices."""
    import pyarrow.parquet as pq

    table = pq.read_table(corpus)[:rows]
    folder.mkdir()
    each = -(-len(table) // SHARDS)
    for i in range(SHARDS):
        pq.write_table(table[i * each : (i + 1) * each], folder / f"{i:02}.parquet")
    return folder


def ended(out: Path, options: argparse.Namespace, devices: str, patch: str = "") -> tuple[str, float, dict[str, bytes]]:
    """Run the command under a patch; what it said, its seconds and its parts. Any exit code but 0 is an error."""
    begin = time.monotonic()
    module = ["torture.on_card", "as"] if patch else ["embed_corpus"]
    line = ["run", str(out.parent / "corpus"), str(out), "--model", options.model, "--devices", devices]
    # One slow loader, 2 MB ahead: so a device that comes back finds shards that the other has left.
    line += ["--text-column", options.text_column, "--loader-workers", "0" if "cpu" in devices else "1"]
    line += ["--no-fast-tokenizer"]
    marks = tempfile.mkdtemp(dir=out.parent)
    env = os.environ | {"TORTURE_PATCH": patch, "TORTURE_MARKS": marks, "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", *module, *line]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"exit code {done.returncode}:\n{said}"
    parts = {path.name: path.read_bytes() for path in (out / "data").iterdir()}
    return said, time.monotonic() - begin, parts


def main() -> int:
    """Let each scenario happen once, and compare with an undisturbed run."""
    parser = argparse.ArgumentParser(prog="torture.on_card", description=__doc__)
    parser.add_argument("--devices", default="0", help="0 or 0,1; cpu or cpu,cpu")
    parser.add_argument("--model", required=True)
    parser.add_argument("--corpus", required=True, type=Path)
    parser.add_argument("--text-column", default="text")
    parser.add_argument("--rows", type=int, help="of the corpus; all if not told")
    options = parser.parse_args()
    first, _, other = options.devices.partition(",")
    lost = "CUDA error: an illegal memory access" if first == "cpu" else "CUDA error: device-side assert"
    scenarios = {
        "context lost once": (first, "device_fails_once", (lost, "another takes its place")),
        "context lost twice": (options.devices, "first_device_fails_twice", (lost, "is given up, the others go on")),
        "out of memory": (first, "crowded", ("out of memory, going on with",)),
    }
    results: dict[str, object] = {"devices": options.devices}
    with tempfile.TemporaryDirectory(prefix="on-card-") as folder:
        divided(options.corpus, Path(folder) / "corpus", options.rows)
        _, seconds, clean = ended(Path(folder) / "clean", options, first)
        print(f"{'undisturbed':20} {len(clean)} parts  [{seconds:.0f} s]", flush=True)
        for name, (devices, patch, says) in scenarios.items():
            verdict = "skipped: needs two devices"
            if other or "twice" not in name:
                try:
                    said, seconds, parts = ended(Path(folder) / patch, options, devices, patch)
                    assert all(text in said for text in says), f"not said, {says}:\n{said}"
                    assert parts == clean, f"the parts differ:\n{said}"
                    verdict = f"exit code 0, same bytes  [{seconds:.0f} s]"
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    verdict = f"BROKEN: {error}"
            results[name] = verdict.splitlines()[0]
            print(f"{name:20} {verdict}", flush=True)
    print(json.dumps(results))
    return int(any(str(verdict).startswith("BROKEN") for verdict in results.values()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["as"]:
        from embed_corpus.cli import main as command

        del sys.argv[1]
        command()
    sys.exit(main())
