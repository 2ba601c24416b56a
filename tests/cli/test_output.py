"""An OUT that is not ours, or not complete."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from embed_corpus import errors
from embed_corpus.errors import EmbedCorpusError, UsageError
from embed_corpus.execution import run as job_run
from embed_corpus.job import prepare as job_prepare
from embed_corpus.job.config import JobConfig
from embed_corpus.job.options.option import options_of
from embed_corpus.job.prepare import prepare
from embed_corpus.store.base import Key
from embed_corpus.store.layout import Layout
from embed_corpus.store.notes import publish_json
from kit.ended import Call, Ended
from kit.places import at


def _is_file(out: Path) -> Path:
    out.write_text("mine")
    return out


def _is_foreign(out: Path) -> Path:
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    return out


@pytest.mark.parametrize("make", [_is_file, _is_foreign])
@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_out_that_is_not_ours(
    call: Call, line: list[object], tmp_path: Path, make: Callable[[Path], Path], flags: list[str]
) -> None:
    """An OUT that holds anything else ends with code 2 and is left as it is, --overwrite or not."""
    out = make(tmp_path / "out")
    ended = call(*line, *flags)
    assert ended.code == 2
    assert f"OUT {out} " in ended.err
    assert [path.read_text() for path in (out, *out.glob("**/*")) if path.is_file()] == ["mine"]


@pytest.mark.parametrize("place", ["file/out", "/proc/out"])
def test_out_that_cannot_be_made(call: Call, corpus: Path, tiny_model: Path, tmp_path: Path, place: str) -> None:
    """An OUT that cannot be made is the user's to mend: it is named, with a code that says so."""
    (tmp_path / "file").touch()
    ended = call("run", corpus, tmp_path / place, "--model", tiny_model)
    assert ended.code in {2, 74}
    assert str(tmp_path / place) in ended.err


def test_out_of_another_job(call: Call, begun: JobConfig, tmp_path: Path) -> None:
    """An OUT that holds parts of another job ends with code 2, naming each field that differs and nothing else."""
    _with_a_part(begun)
    model = str(begun.model)
    ended = call("run", *begun.input, begun.output, "--model", model, "--chunk-tokens", 9, "--id-column", "id")
    assert ended.code == 2
    assert f"OUT {begun.output} belongs to another job." in ended.err
    assert [line for line in ended.err.splitlines() if line.startswith("  ")] == [
        "  chunk_tokens: 64 there, 9 now",
        '  id_column: null there, "id" now',
    ]
    assert "Name another OUT, or run with --overwrite to delete that result first." in ended.err


def _with_a_part(config: JobConfig) -> Path:
    """Put a part's name into OUT, as a run would."""
    layout = Layout(config.output)
    (shard,) = prepare(config).plan.shards
    at(layout.data).mkdir()
    at(layout.data / shard.part_name).touch()
    return at(layout.data / shard.part_name)


def test_overwrite(begun: JobConfig) -> None:
    """--overwrite deletes another job's result, and leaves one of the same job as it is."""
    part = _with_a_part(begun)
    fields = {name: getattr(begun, name) for name in options_of(JobConfig)} | {"overwrite": True}
    assert prepare(JobConfig(**fields)).todo == ()
    assert part.exists()
    other = prepare(JobConfig(**fields | {"keep_text": True}))
    assert not part.exists()
    assert len(other.todo) == 1
    assert json.loads(at(other.layout.job).read_text())["fields"]["keep_text"] is True


def test_no_room(call: Call, corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room is found before the first batch, and the remedy that the message names can be followed."""
    config = JobConfig((str(corpus),), tmp_path / "out", str(tiny_model), devices="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: (1000, 700, 300))
        ended = call("run", corpus, tmp_path / "out", "--model", tiny_model)
    assert ended.code == 74
    assert "make room, or use --vector-type float16" in ended.err
    fields = {name: getattr(config, name) for name in options_of(JobConfig)}
    assert len(prepare(JobConfig(**fields | {"vector_type": "float16"})).todo) == 1


@pytest.mark.parametrize("note", ["{", "[]", "{}"])
def test_damaged_out(call: Call, begun: JobConfig, note: str) -> None:
    """An OUT whose own notes are damaged is refused by name, by whatever command."""
    at(Layout(begun.output).job).write_text(note)
    _assert_refused(call("run", *begun.input, begun.output, "--model", begun.model), begun.output)
    _assert_refused(call("status", begun.output), begun.output)


def _assert_refused(ended: Ended, out: Path) -> None:
    assert ended.code in {2, 74}
    assert str(out) in ended.err


def test_input_that_changed(call: Call, begun: JobConfig, corpus: Path) -> None:
    """Parts whose input is gone end the run with code 2 and the choice: --prune, or another OUT."""
    part = _with_a_part(begun)
    (corpus / "a.jsonl").write_text('{"text": "another"}\n')
    ended = call("run", corpus, begun.output, "--model", begun.model)
    assert ended.code == 2
    assert f"1 parts in {part.parent} are not of this plan (e.g. {part.name})" in ended.err
    assert "--prune" in ended.err


@pytest.mark.parametrize("args", [["status"], ["verify"], ["verify", "--sample", "0"], ["search"]])
@pytest.mark.parametrize("out", ["gone", "corpus", "corpus/a.jsonl"])
def test_no_result(call: Call, corpus: Path, tmp_path: Path, args: list[str], out: str) -> None:
    """Commands about a result refuse, with code 2, what is none."""
    ended = call(*args, tmp_path / out, *(["hello"] if args == ["search"] else []))
    assert (ended.code, ended.out) == (2, "")
    assert f"{tmp_path / out} is no result of embed-corpus" in ended.err


def test_search_without_index(call: Call, begun: JobConfig) -> None:
    """A search where there is no index ends with code 2 and says how to get one."""
    ended = call("search", begun.output, "hello")
    assert ended.code == 2
    assert "has no index: `embed-corpus index " in ended.err


@pytest.mark.parametrize(("query", "k"), [(" ", 1), ("x", 0), ("word " * 99, 1)])
def test_bad_query(call: Call, begun: JobConfig, query: str, k: int) -> None:
    """A query of no or too many tokens, or for no chunk, ends with code 2."""
    ended = call("search", begun.output, query, "-k", k)
    assert ended.code == 2
    assert "quer" in ended.err if k else "-k" in ended.err


def test_unfinished_result(call: Call, begun: JobConfig) -> None:
    """Before the first snapshot `status` tells what is left, and `verify` that there is nothing to check yet."""
    status = call("status", begun.output)
    assert status.code == 0
    assert "0 of 1 parts done, 2 of 2 rows left" in status.out
    assert "snapshot: none yet" in status.out
    verify = call("verify", begun.output)
    assert verify.code == 74
    assert "has no snapshot yet: let the run come to its end first." in verify.err


# ── how it ends ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_has_its_exit_code(call: Call, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each error of the tree ends with its own code and one message; each code is in `--help`."""
    kind: type[EmbedCorpusError] = getattr(errors, name)
    monkeypatch.setattr(job_run, "run", _raiser(kind("what and what to do")))
    ended = call("run", "in", "out")
    before = "\n" if kind is errors.Interrupted else "error: "
    assert (ended.code, ended.err) == (kind.exit_code, f"{before}what and what to do\n")
    assert f"{kind.exit_code} " in call("--help").out


def _raiser(error: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_ctrl_c(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends with code 75 and says how to go on."""
    monkeypatch.setattr(job_run, "run", _raiser(KeyboardInterrupt()))
    ended = call("run", "in", "out")
    assert ended.code == 75
    assert "finished parts are safe, run the same line again" in ended.err


@pytest.mark.process
def test_reader_that_has_enough(begun: JobConfig) -> None:
    """`status | head` ends without a complaint when nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "embed_corpus", "status", str(begun.output)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_unknown_command(call: Call) -> None:
    """A command that does not exist, or none, ends with code 2."""
    assert "No such command 'bogus'" in call("bogus").err
    assert call("bogus").code == call().code == 2


def test_another_job_that_was_faster(begun: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two jobs that begin in one new OUT at once, the later one finds the other's mark and is refused."""

    def slower(layout: Layout, key: Key, content: dict[str, object]) -> str:
        if key == layout.job and not layout.store.stat(key):
            publish_json(layout, key, content | {"job": "of the other", "fields": {"long": "truncate"}})
        return publish_json(layout, key, content)

    monkeypatch.setattr(job_prepare, "publish_json", slower)
    with pytest.raises(UsageError, match="belongs to another job"):
        prepare(JobConfig(begun.input, tmp_path / "new", begun.model))


@pytest.mark.parametrize("name", ["input", "text_column", "keep"])
def test_one_text_for_several_in_python(name: str) -> None:
    """A text where several may stand is refused, not taken for its letters."""
    with pytest.raises(UsageError, match=f"{name}: 'text' is given where a tuple"):
        JobConfig(**{"input": ("a",), "output": "out", name: "text"})
    assert JobConfig(("a",), "out").output == Path("out")
