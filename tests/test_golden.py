"""What the package gave before its rooms were moved, it still gives: hashes, shard ids, bytes of parts, an old OUT."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from golden.jobs import ENVIRONMENT, HERE, JOBS, arguments, given

EXPECTED = json.loads((HERE / "expected.json").read_text())
SAME_LIBRARIES = all(version(name).split("+")[0] == noted for name, noted in EXPECTED["versions"].items())
"""Other versions may write other bytes for the same vectors, and compute other last bits."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the six jobs give now."""
    command = [sys.executable, "-m", "golden.jobs", str(tmp_path_factory.mktemp("golden"))]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=HERE.parent, env=os.environ | ENVIRONMENT, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", JOBS)
def test_hashes_and_bytes(found: dict[str, Any], name: str) -> None:
    """The hashes of space and job, the ids of the shards and the bytes of the parts are those of the first day."""
    ours, expected = found[name], EXPECTED["jobs"][name]
    assert (ours["space"], ours["job"]) == (expected["space"], expected["job"])
    assert list(ours["parts"]) == list(expected["parts"])
    assert [rest for _, rest in ours["parts"].values()] == [rest for _, rest in expected["parts"].values()]
    if SAME_LIBRARIES:
        assert ours["parts"] == expected["parts"]


@pytest.fixture(params=["plain", "int8"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """An OUT that version 0.1.0 made on another day; its inputs and its model lie here."""
    out = Path(shutil.copytree(HERE / "out" / request.param, tmp_path / "out"))
    for name in ("run.json", "sources.json"):
        file = out / "_embed" / name
        file.write_text(file.read_text().replace("@GOLDEN@", str(HERE)))
    return request.param, out


def ended(*words: str) -> str:
    """What the command prints, once it has ended with 0."""
    command = [sys.executable, "-m", "embed_corpus", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_old_out_is_resumed_verified_and_searched(old: tuple[str, Path]) -> None:
    """A part that is missing is made again, those that are there stay; the checks hold, and a text finds itself."""
    name, out = old
    parts = sorted((out / "data").glob("*.parquet"))
    stays = parts[0].stat()
    parts[1].unlink()
    ended(*arguments(name, out))
    assert sorted((out / "data").glob("*.parquet")) == parts
    assert (parts[0].stat().st_ino, parts[0].stat().st_mtime_ns) == (stays.st_ino, stays.st_mtime_ns)
    ours, expected = given(out), EXPECTED["jobs"][name]
    assert [rest for _, rest in ours["parts"].values()] == [rest for _, rest in expected["parts"].values()]
    ended("verify", str(out), "--sample", "20")
    if name == "plain":
        text = json.loads((HERE / "corpus" / "lines" / "b.jsonl").read_text().splitlines()[3])["text"]
        hit = json.loads(ended("search", str(out), text, "-k", "1", "--prompt", "", "--format", "json"))
        assert hit["doc_id"] == "b3"
