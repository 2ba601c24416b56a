"""Nothing that lies in input, model or OUT is ever run, and no secret is told."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
from pathlib import Path

import pytest

from embed_corpus.job.config import JobConfig
from embed_corpus.job.prepare import prepare
from kit.tiny import CORPUS, Command

HOOK = """
import os, sys
def hook(event, args):
    if event != "pickle.find_class":
        return
    frame, callers = sys._getframe(), set()
    while frame:
        callers.add(frame.f_globals.get("__name__", "").partition(".")[0])
        frame = frame.f_back
    kind = "between processes" if "multiprocessing" in callers else "from a file"
    with open(os.environ["EVENTS"], "a") as file:
        print(kind, *args, file=file)
sys.addaudithook(hook)
"""


class Trap:
    """An object whose pickle makes a folder where it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.slow
def test_no_pickle_is_read(embed_corpus: Command, tiny_model: Path, tmp_path: Path) -> None:
    """Over run, search and verify nothing is unpickled but what our own processes tell each other."""
    trap, model, out = tmp_path / "sprung", tmp_path / "model", tmp_path / "out"
    shutil.copytree(tiny_model, model)
    shutil.copytree(CORPUS, tmp_path / "in")
    (out / "_embed").mkdir(parents=True)
    names = [
        model / "pytorch_model.bin",
        model / "training_args.bin",
        out / "_embed" / "a.pkl",
        tmp_path / "in" / "a.pkl",
    ]
    for name in names:
        name.write_bytes(pickle.dumps(Trap(trap)))
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    env = os.environ | {"PYTHONPATH": str(tmp_path / "hook"), "EVENTS": str(tmp_path / "events")}
    flags = ("--model", model, "--devices", "cpu", "--loader-workers", "1", "--index", "flat", "--limit", "400")
    for line in (("run", tmp_path / "in", out, *flags), ("search", out, "wing"), ("verify", out)):
        done = embed_corpus(*line, env=env)
        assert done.returncode == 0, done.stderr
    kinds = {
        line.partition(" embed")[0].partition(" builtins")[0] for line in (tmp_path / "events").read_text().splitlines()
    }
    assert any(kind.startswith("between processes") for kind in kinds)  # the hook is there
    assert not [kind for kind in kinds if kind.startswith("from a file")]
    assert not trap.exists()


def test_out_that_everyone_may_write_to(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root is warned of an OUT that everyone may write to; nobody else is, and root not of any other."""
    caplog.set_level(logging.WARNING, "embed_corpus")
    (tmp_path / "in.jsonl").write_text('{"text": "one"}\n')
    for mode, user, warned in ((0o777, 0, True), (0o755, 0, False), (0o777, 1000, False)):
        out = tmp_path / f"{mode:o}-{user}"
        out.mkdir()
        out.chmod(mode)
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        caplog.clear()
        prepare(JobConfig((str(tmp_path / "in.jsonl"),), out, str(tiny_model), devices="cpu"))
        assert ("can be written by everyone" in caplog.text) == warned


@pytest.mark.parametrize("where", ["input", "model", "out"])
def test_a_secret_in_a_url_is_not_told(embed_corpus: Command, tiny_model: Path, tmp_path: Path, where: str) -> None:
    """What cannot be read is named without its password, and no folder is made of it."""
    secret = "s3://key:S3cret@host/a"
    paths = {"input": CORPUS, "out": tmp_path / "out", "model": tiny_model} | {where: secret}
    done = embed_corpus("run", paths["input"], paths["out"], "--model", paths["model"], "--limit", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert "***@host" in done.stderr
    assert "S3cret" not in done.stdout + done.stderr
    assert not list(tmp_path.glob("s3*"))
