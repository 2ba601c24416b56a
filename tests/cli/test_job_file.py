"""Jobs as TOML files."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import date, time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embed_corpus.errors import UsageError
from embed_corpus.index.choose import Request
from embed_corpus.job.config import JobConfig
from kit.ended import Call


def job_file(folder: Path, text: str) -> Path:
    """Write a job file."""
    (folder / "job.toml").write_text(text)
    return folder / "job.toml"


def test_job_file(call: Call, asked: list[JobConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job file says all that flags say; its paths are relative to it, wherever the command is called."""
    file = job_file(
        tmp_path,
        'input = ["corpus", "/abs/*.jsonl"]\noutput = "out"\nmodel = "./model"\ntext-column = ["title", "body"]\n'
        'keep-text = true\nchunk-tokens = 32\nlate-chunking = true\nmax-rejects = "1%"\nindex = "flat"\n'
        'max-memory = "4GB"\ntarget-recall = 0.9\n'
        'precision = "fp8"\nforce-fp8 = true\nbatch-tokens = 4096\ncompile = false\n',
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
            late_chunking=True,
            max_rejects="1%",
            index="flat",
            max_memory="4GB",
            target_recall=0.9,
            precision="fp8",
            force_fp8=True,
            batch_tokens=4096,
            compile=False,
        )
    ]
    assert asked[0].index_request == Request("flat", 4 << 30, 0.9)


def test_flags_win(call: Call, asked: list[JobConfig], tmp_path: Path) -> None:
    """What the command line says wins over the job file, wherever --config stands; the rest stays the file's."""
    file = job_file(
        tmp_path,
        'input = ["a"]\noutput = "b"\nlimit = 5\nlong = "truncate"\nkeep = ["x"]\nmodel = "org/name"\n'
        "compile = false\n",
    )
    assert call("run", "in", "out", "--limit", 7, "--config", file, "--keep", "y", "--compile").code == 0
    (config,) = asked
    assert (config.input, config.output) == (("in",), Path("out"))
    assert (config.limit, config.keep, config.long, config.model) == (7, ("y",), "truncate", "org/name")
    assert config.compile


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
        (
            "zzz = 5",
            "unknown key 'zzz'; known are batch-tokens, chunk-by, chunk-overlap",
        ),
        ("config = 'a.toml'", "unknown key 'config'"),
        ("[run]\nlimit = 5", "unknown key 'run'"),
        ("limit = ", "job.toml is no valid TOML: Invalid value (at end of document)."),
        ("input = ['a']", "INPUT and OUT are missing"),
        ("input = [5]\noutput = 'b'", 'input: [5] is given where a list of texts, ["…", "…"] is wanted.'),
        ("input = [['a']]\noutput = 'b'", "input: [['a']] is given where a list of texts"),
        ("input = ['a']\noutput = ['b']", "output: ['b'] is given where a path, \"…\" is wanted."),
        ("keep-text = 1", "keep-text: 1 is given where true or false is wanted."),
        ("keep-text = 'yes'", 'keep-text: "yes" is given where true or false is wanted.'),
        ("quiet = 'no'", 'quiet: "no" is given where true or false is wanted.'),
        ("limit = true", "limit: true is given where a whole number is wanted."),
        ("limit = 2024-05-01", "limit: the date 2024-05-01 is given where a whole number is wanted."),
        ("grace = '5'", 'grace: "5" is given where a number is wanted.'),
        ("model = 5", "model: 5 is given where a text"),
        ("model = {name = 'x'}", "model: a table is given where a text"),
        ("keep = 'lang'", 'keep: "lang" is given where a list is wanted: ["lang"].'),
        (f"limit = {'9' * 5000}", "is no valid TOML"),
        (f"keep = {'[' * 5000}", "is no valid TOML"),
        ('input = ["a"]\noutput = "b\\u0000c"', "output: the text holds a NUL character"),
        ("input = []\noutput = 'b'", "no INPUT: name files, folders or globs to read."),
        ("input = ['a']\noutput = 'b'\nchunk-tokens = 'x'", 'chunk-tokens: "x" is given where a whole'),
        ("input = ['a']\noutput = 'b'\nlimit = 1.5", "limit"),
        (
            "input = ['a']\noutput = 'b'\ntext-column = 'body'",
            'text-column: "body" is given where a list is wanted: ["body"].',
        ),
        ("input = ['a']\noutput = 'b'\nmax-memory = 'much'", "--max-memory 'much': give a size such as 8GB"),
        ("input = ['a']\noutput = 'b'\ntarget-recall = 2", "--target-recall"),
        ("input = ['a']\noutput = 'b'\nlong = 'x'", "'x' is not one of 'split', 'truncate'"),
    ],
)
def test_bad_job_file(call: Call, asked: list[JobConfig], tmp_path: Path, text: str, message: str) -> None:
    """What a job file has wrong is told with the key and the remedy, exit code 2, and nothing is run."""
    ended = call("run", "--config", job_file(tmp_path, text))
    assert (ended.code, asked) == (2, [])
    assert message in ended.err


def test_one_input_and_a_byte_order_mark(call: Call, asked: list[JobConfig], tmp_path: Path) -> None:
    """One INPUT may stand without a list, numbers where a text mostly is one, and a byte order mark is passed over."""
    (tmp_path / "job.toml").write_text(
        'input = "/a"\noutput = "/b"\nmax-rejects = 0.01\ndevices = 0\n', encoding="utf-8-sig"
    )
    assert call("run", "--config", tmp_path / "job.toml").code == 0
    assert asked == [JobConfig(("/a",), Path("/b"), max_rejects="0.01", devices="0")]


_KEYS = sorted({"input", "output", "quiet", *(field.name.replace("_", "-") for field in fields(JobConfig))})
_VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        st.dates(),
        st.times(),
        st.datetimes(),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def written(value: object) -> str:
    """Write a value as TOML."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {written(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, str):
        return (
            json.dumps(value).replace("\x7f", "\\u007f") if value.isascii() else json.dumps(value, ensure_ascii=False)
        )
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value).lower()


@pytest.mark.heavy
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.sampled_from(_KEYS), value=_VALUES)
def test_any_value_of_any_key(call: Call, asked: list[JobConfig], tmp_path: Path, key: str, value: object) -> None:
    """Whatever stands behind a key: the job is asked for, or one sentence says what is wrong, exit code 2."""
    rest = {"input": ["a"], "output": "b"} | {key: value}
    file = job_file(tmp_path, "".join(f"{name} = {written(given)}\n" for name, given in rest.items()))
    ended = call("run", "--config", file)
    assert ended.code in {0, 2}
    assert (ended.code == 0) == bool(asked)
    asked.clear()


@settings(deadline=None)
@given(name=st.sampled_from([field.name for field in fields(JobConfig)]), value=_VALUES | st.binary() | st.none())
def test_any_value_of_any_field(name: str, value: object) -> None:
    """From Python, too, a field of another kind is a UsageError that names it."""
    try:
        JobConfig(**{"input": ("a",), "output": Path("b")} | {name: value})
    except UsageError as error:
        told = str(error)
    else:
        return
    assert any(word in told for word in (name, name.replace("_", "-"), "INPUT", "OUT", "text column"))


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
