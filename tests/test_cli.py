"""The command line: help, job files, and an exit code and a message for whatever does not fit."""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embed_corpus import errors
from embed_corpus.cli import _COMMANDS, main
from embed_corpus.errors import EmbedCorpusError, UsageError
from embed_corpus.job import run as job_run
from embed_corpus.job.config import JobConfig, parse_share
from embed_corpus.job.prepare import prepare
from embed_corpus.sink.layout import Layout

HEAVY = {"torch", "transformers", "tokenizers", "faiss", "numpy", "pyarrow", "huggingface_hub", "tqdm"}


@dataclass(frozen=True)
class Ended:
    """How a call of the command ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Ended]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Call]:
    """Call the command in this process, without workers; an exception that it lets through fails the test."""

    def started(*_: object) -> None:
        raise AssertionError("a worker was started")

    def run(*args: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["embed-corpus", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, captured.out, captured.err)

    handler, level = signal.getsignal(signal.SIGTERM), logging.getLogger("embed_corpus").level
    monkeypatch.setattr(job_run, "run_workers", started)
    yield run
    signal.signal(signal.SIGTERM, handler)
    logging.getLogger("embed_corpus").setLevel(level)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A folder of two documents."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"id": "1", "text": "one"}\n{"id": "2", "text": "two"}\n')
    return folder


@pytest.fixture
def line(corpus: Path, tiny_model: Path, tmp_path: Path) -> list[object]:
    """The arguments of a run that nothing is wrong with; OUT comes third."""
    return ["run", corpus, tmp_path / "out", "--model", tiny_model]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[JobConfig]:
    """The jobs that `run` was asked for; none of them is done."""
    configs: list[JobConfig] = []

    def note(config: JobConfig, _: object) -> Any:
        configs.append(config)
        return SimpleNamespace(lines=lambda: ["done"])

    monkeypatch.setattr(job_run, "run", note)
    return configs


# ── help ──────────────────────────────────────────────────────────────────────────────────


def test_every_command_is_listed(call: Call) -> None:
    """`--help` names every command file with its summary, and the exit codes."""
    ended = call("--help")
    files = {file.stem for file in Path(errors.__file__).with_name("cli").glob("*.py")} - {"__init__"}
    assert (ended.code, set(_COMMANDS)) == (0, files)
    assert all(f"  {name} " in ended.out and summary in ended.out for name, summary in _COMMANDS.items())
    assert "75 interrupted" in ended.out


@pytest.mark.parametrize("command", ["", *_COMMANDS])
def test_every_command_has_help(call: Call, command: str) -> None:
    """Each command says how it is used and what each option does; no mark-up shows."""
    ended = call(*command.split(), "--help")
    assert ended.code == 0
    assert f" {command} [OPTIONS] ".replace("  ", " ") in ended.out.splitlines()[0]
    assert "\\b" not in ended.out
    assert "\x08" not in ended.out


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_option_has_help(name: str) -> None:
    """No option is without its sentence."""
    module = __import__(f"embed_corpus.cli.{name}", fromlist=["command"])
    options = [p for p in module.command.params if p.param_type_name == "option"]
    assert [option.name for option in options if not option.help.endswith((".", "]", ")"))] == []
    assert module.command.help


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["run", "--help"], ["search", "--help"]])
def test_help_is_light(args: list[str]) -> None:
    """What only tells does so without the heavy libraries."""
    script = (
        "import sys; from embed_corpus.cli import main\n"
        "try: main()\n"
        "finally: print(','.join({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.strip().split(","))
    assert "click" in loaded
    assert loaded & HEAVY == set()


def test_help_is_quick() -> None:
    """`embed-corpus --help` answers in under a second."""

    def seconds() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "embed_corpus", "--help"], capture_output=True, check=True)
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(3)) < 1


# ── job files ─────────────────────────────────────────────────────────────────────────────


def job_file(folder: Path, text: str) -> Path:
    """Write a job file."""
    (folder / "job.toml").write_text(text)
    return folder / "job.toml"


def test_job_file(call: Call, asked: list[JobConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job file says all that flags say; its paths are relative to it, wherever the command is called."""
    file = job_file(
        tmp_path,
        'input = ["corpus", "/abs/*.jsonl"]\noutput = "out"\nmodel = "./model"\ntext-column = ["title", "body"]\n'
        'keep-text = true\nchunk-tokens = 32\nmax-rejects = "1%"\nindex = "flat"\n',
    )
    monkeypatch.chdir("/")
    assert call("run", "--config", file).code == 0
    assert asked == [
        JobConfig(
            input=(str(tmp_path / "corpus"), "/abs/*.jsonl"),
            output=tmp_path / "out",
            model=str(tmp_path / "model"),
            text_column=("title", "body"),
            keep_text=True,
            chunk_tokens=32,
            max_rejects="1%",
            index="flat",
        )
    ]


def test_flags_win(call: Call, asked: list[JobConfig], tmp_path: Path) -> None:
    """What the command line says wins over the job file, wherever --config stands; the rest stays the file's."""
    file = job_file(
        tmp_path, 'input = ["a"]\noutput = "b"\nlimit = 5\nlong = "truncate"\nkeep = ["x"]\nmodel = "org/name"\n'
    )
    assert call("run", "in", "out", "--limit", 7, "--config", file, "--keep", "y").code == 0
    (config,) = asked
    assert (config.input, config.output) == (("in",), Path("out"))
    assert (config.limit, config.keep, config.long, config.model) == (7, ("y",), "truncate", "org/name")


def test_flags_make_the_same_job_as_python(call: Call, asked: list[JobConfig]) -> None:
    """The command's defaults are those of `JobConfig`."""
    assert call("run", "in", "more", "out").out == "done\n"
    assert call("run", "--quiet", "in", "more", "out").out == ""
    assert asked == [JobConfig(("in", "more"), Path("out"))] * 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chunk-token = 5", "unknown key 'chunk-token'; did you mean 'chunk-tokens'?"),
        ("text_column = ['a']", "unknown key 'text_column'; did you mean 'text-column'?"),
        ("zzz = 5", "unknown key 'zzz'; known are chunk-overlap, chunk-tokens, devices"),
        ("config = 'a.toml'", "unknown key 'config'"),
        ("[run]\nlimit = 5", "unknown key 'run'"),
        ("limit = ", "job.toml is no valid TOML: Invalid value (at end of document)."),
        ("input = ['a']", "INPUT and OUT are missing"),
        ("input = 'a'\noutput = 'b'", 'input = ["…"]'),
        ("input = [5]\noutput = 'b'", 'input = ["…"]'),
        ("input = []\noutput = 'b'", "no INPUT: name files, folders or globs to read."),
        ("input = ['a']\noutput = 'b'\nchunk-tokens = 'x'", "'x' is not a valid integer"),
        ("input = ['a']\noutput = 'b'\nlimit = 1.5", "limit"),
        ("input = ['a']\noutput = 'b'\ntext-column = 'body'", "--text-column"),
        ("input = ['a']\noutput = 'b'\nlong = 'x'", "'x' is not one of 'split', 'truncate'"),
    ],
)
def test_bad_job_file(call: Call, asked: list[JobConfig], tmp_path: Path, text: str, message: str) -> None:
    """What a job file has wrong is told with the key and the remedy, exit code 2, and nothing is run."""
    ended = call("run", "--config", job_file(tmp_path, text))
    assert (ended.code, asked) == (2, [])
    assert message in ended.err


def test_job_file_in_another_encoding(call: Call, tmp_path: Path) -> None:
    """A job file that is no UTF-8 is no valid TOML."""
    (tmp_path / "job.toml").write_bytes(b"model = '\xff'")
    ended = call("run", "--config", tmp_path / "job.toml")
    assert ended.code == 2
    assert "job.toml is no valid TOML" in ended.err


@pytest.mark.parametrize(("name", "message"), [("gone.toml", "No such file or directory."), ("", "is a directory")])
def test_no_job_file(call: Call, tmp_path: Path, name: str, message: str) -> None:
    """A job file that is not there is named."""
    ended = call("run", "--config", tmp_path / name)
    assert ended.code == 2
    assert str(tmp_path / name) in ended.err
    assert message in ended.err


@pytest.mark.parametrize(
    ("args", "message"), [(["in"], "give INPUT and OUT, or neither"), ([], "INPUT and OUT are missing")]
)
@pytest.mark.parametrize("with_file", [True, False])
def test_both_or_none(call: Call, tmp_path: Path, args: list[str], message: str, with_file: bool) -> None:
    """INPUT and OUT come together, from the command line or from the job file."""
    file = job_file(tmp_path, "limit = 5") if with_file else None
    ended = call("run", *args, *(["--config", file] if file else []))
    assert ended.code == 2
    assert message in ended.err


# ── what does not fit ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--chunk-tokens 0", "--chunk-tokens 0: must be at least 1."),
        ("--chunk-tokens 65", "--chunk-tokens 65: the model takes 64 at most, special ones included."),
        ("--chunk-overlap -1", "--chunk-overlap -1: must be at least 0."),
        ("--chunk-overlap 62", "too few for an overlap of 62. Raise --chunk-tokens or lower --chunk-overlap."),
        ("--chunk-overlap 4 --long truncate", "--chunk-overlap has no meaning with --long truncate: drop one of them."),
        ("--chunk-tokens 2", "Raise --chunk-tokens"),
        ("--limit 0", "--limit 0: must be at least 1."),
        ("--limit x", "'x' is not a valid integer"),
        ("--long x", "'x' is not one of 'split', 'truncate'."),
        ("--precision fp8", "'fp8' is not one of 'auto', 'fp32', 'fp16', 'bf16'."),
        ("--vector-type int8", "'int8' is not one of 'float32', 'float16'."),
        ("--index ivf", "'ivf' is not one of 'none', 'flat', 'auto'."),
        ("--keep text", "--keep text: a part has a column of that name of its own. Use --keep-text for the text"),
        ("--keep doc_id", "--keep doc_id: a part has a column of that name of its own."),
        ("--max-rejects x", "--max-rejects 'x': give a share such as 0.1% or 0.001."),
        ("--max-rejects 101%", "--max-rejects '101%': give a share"),
        ("--max-rejects nan", "--max-rejects 'nan': give a share"),
        ("--devices x", "--devices 'x': give all, cpu, or GPU numbers such as 0,1."),
        ("--devices ²", "--devices '²': give all, cpu, or GPU numbers"),
        ("--devices 99", "--devices 99: there is no GPU 99;"),
        ("--bogus", "No such option '--bogus'."),
    ],
)
def test_usage_error(call: Call, line: list[object], tmp_path: Path, flags: str, message: str) -> None:
    """An option that cannot be met ends with code 2 and what to do; no worker was started and OUT is not claimed."""
    ended = call(*line, *flags.split())
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": ()}, "no INPUT"),
        ({"text_column": ()}, "no text column: name at least one with --text-column."),
        ({"long": "x"}, "--long 'x': choose one of split, truncate."),
        ({"precision": "fp8"}, "--precision 'fp8': choose one of auto, fp32, fp16, bf16."),
        ({"vector_type": "int8"}, "--vector-type 'int8': choose one of float32, float16."),
        ({"index": "ivf"}, "--index 'ivf': choose one of none, flat, auto."),
    ],
)
def test_config_is_validated_in_python_too(fields: dict[str, Any], message: str) -> None:
    """A `JobConfig` made in Python refuses what the command refuses."""
    with pytest.raises(UsageError) as error:
        JobConfig(**{"input": ("a",), "output": Path("b")} | fields)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "rows", "allowed"), [("0.1%", 9, 10), ("0.1%", 50_000, 50), ("0.5", 100, 50), ("0", 10**6, 0)]
)
def test_share(text: str, rows: int, allowed: int) -> None:
    """A share of the rows may be rejected, ten always, and none if the share is 0."""
    assert JobConfig(("a",), Path("b"), max_rejects=text).rejects_allowed(rows) == allowed
    assert parse_share("12.5%") == 0.125


def test_wrong_column(call: Call, corpus: Path, tiny_model: Path, tmp_path: Path) -> None:
    """A column that does not exist ends with code 4 and those that do, in every file."""
    pq.write_table(pa.table({"body": ["x"], "n": [1]}), corpus / "b.parquet")
    ended = call("run", corpus, tmp_path / "out", "--model", tiny_model, "--text-column", "txt")
    assert (ended.code, ended.out) == (4, "")
    assert f"{corpus / 'a.jsonl'} has no column 'txt'. It has: id, text. Name one with --text-column." in ended.err
    assert f"{corpus / 'b.parquet'} has no column 'txt'. It has: body, n." in ended.err


@pytest.mark.parametrize("name", ["gone", "*.gone"])
def test_missing_input(call: Call, tiny_model: Path, tmp_path: Path, name: str) -> None:
    """An INPUT that is not there ends with code 4, and OUT is not claimed."""
    ended = call("run", tmp_path / name, tmp_path / "out", "--model", tiny_model)
    assert ended.code == 4
    assert f"INPUT '{tmp_path / name}' " in ended.err
    assert not (tmp_path / "out").exists()


def _drop(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "no such folder. Give the folder that holds modules.json."),
        (_drop("config.json"), "lacks config.json. Needed are"),
        (_drop("modules.json"), "lacks modules.json. Needed are"),
        (_drop("tokenizer.json"), "lacks tokenizer.json: save its tokenizer"),
        (_drop("model.safetensors"), "holds no *.safetensors: save the model as safetensors."),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json cannot be read: "),
        (lambda folder: (folder / "modules.json").write_text("{}"), "modules.json holds no list."),
    ],
)
def test_unreadable_model(
    call: Call, line: list[object], tmp_path: Path, harm: Callable[[Path], object], message: str
) -> None:
    """A model folder that lacks something ends with code 2, naming the file and what is needed."""
    shutil.copytree(str(line[-1]), tmp_path / "model")
    harm(tmp_path / "model")
    ended = call(*line, "--model", tmp_path / "model")
    assert ended.code == 2
    assert str(tmp_path / "model") in ended.err
    assert message in ended.err


# ── OUT ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def begun(corpus: Path, tiny_model: Path, tmp_path: Path) -> JobConfig:
    """A job whose OUT is prepared and holds no part yet."""
    config = JobConfig((str(corpus),), tmp_path / "out", str(tiny_model), devices="cpu")
    prepare(config)
    return config


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
    layout.data.mkdir()
    (layout.data / shard.part_name).touch()
    return layout.data / shard.part_name


def test_overwrite(begun: JobConfig) -> None:
    """--overwrite deletes another job's result, and leaves one of the same job as it is."""
    part = _with_a_part(begun)
    fields = {name: getattr(begun, name) for name in begun.__slots__} | {"overwrite": True}
    assert prepare(JobConfig(**fields)).todo == ()
    assert part.exists()
    other = prepare(JobConfig(**fields | {"keep_text": True}))
    assert not part.exists()
    assert len(other.todo) == 1
    assert json.loads(other.layout.job.read_text())["fields"]["keep_text"] is True


def test_no_room(call: Call, corpus: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little room is found before the first batch, and the remedy that the message names can be followed."""
    config = JobConfig((str(corpus),), tmp_path / "out", str(tiny_model), devices="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=300))
        ended = call("run", corpus, tmp_path / "out", "--model", tiny_model)
    assert ended.code == 74
    assert "make room, or use --vector-type float16" in ended.err
    fields = {name: getattr(config, name) for name in config.__slots__}
    assert len(prepare(JobConfig(**fields | {"vector_type": "float16"})).todo) == 1


@pytest.mark.parametrize("note", ["{", "[]", "{}"])
def test_damaged_out(call: Call, begun: JobConfig, note: str) -> None:
    """An OUT whose own notes are damaged is refused by name, by whatever command."""
    Layout(begun.output).job.write_text(note)
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
    assert "has no index: run the same line again with --index flat." in ended.err


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
    assert (ended.code, ended.err) == (kind.exit_code, "error: what and what to do\n")
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


@pytest.mark.parametrize("name", ["run", "search", "status", "verify"])
def test_readme_names_every_command_and_option(name: str) -> None:
    """What the command line offers, the README tells."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    command = importlib.import_module(f"embed_corpus.cli.{name}").command
    assert f"| `{name} " in readme
    if name == "run":
        for option in (p for p in command.params if isinstance(p, click.Option)):
            assert option.opts[-1] in readme, option.opts
