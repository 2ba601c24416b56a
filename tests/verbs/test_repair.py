"""What is damaged after it was committed is found, set aside and redone, and nothing else is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from embed_corpus.verbs.repair import repair
from embed_corpus.verbs.verify import verify
from kit.tiny import Command

Damage = Callable[[Path, Path], None]


@pytest.fixture(scope="module")
def line(embed_corpus: Command, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """A run over three sources, each with a bad row, into `clean`; its arguments but for OUT and what follows."""
    folder = tmp_path_factory.mktemp("repair")
    (folder / "in").mkdir()
    for name in "abc":
        (folder / "in" / f"{name}.jsonl").write_text(f'{{"text": "wing {name}"}}\n{{bad\n{{"text": "flow {name}"}}\n')
    line = ("run", folder / "in", folder / "clean", "--model", tiny_model, "--devices", "cpu")
    assert embed_corpus(*line).returncode == 0
    return line


def flip(part: Path, _: Path) -> None:
    """Flip one bit in the middle of a part."""
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


def cut(part: Path, _: Path) -> None:
    """Cut a part short."""
    part.write_bytes(part.read_bytes()[:-100])


def lose_rejects(_: Path, rejects: Path) -> None:
    """Lose a record of rejects."""
    rejects.unlink()


def spoil_rejects(_: Path, rejects: Path) -> None:
    """Spoil a record of rejects."""
    rejects.write_bytes(b"(nothing)")


def files(out: Path, folder: str) -> dict[str, bytes]:
    """Name and bytes of each file."""
    return {p.name: p.read_bytes() for p in (out / folder).iterdir()}


@pytest.mark.parametrize("damage", [flip, cut, lose_rejects, spoil_rejects])
@pytest.mark.parametrize("forgotten", [False, True], ids=["noted", "notes-gone"])
def test_damage_is_set_aside(line: tuple[object, ...], tmp_path: Path, damage: Damage, *, forgotten: bool) -> None:
    """Damage is found, and that part alone is set aside, where no reader takes it for data."""
    out = copied(line, tmp_path)
    damage_first(out, damage)
    if forgotten:
        shutil.rmtree(out / "_embed" / "stats")
    assert not all(check.ok for check in verify(out, 0).checks)
    assert len(repair(out).reasons) == 1
    assert len(files(out, "data")) == 2
    assert all(not name.endswith(".parquet") for name in files(out, "_embed/quarantine"))
    assert repair(out).reasons == ()


def copied(line: tuple[object, ...], folder: Path) -> Path:
    """A copy of the clean result."""
    return Path(shutil.copytree(str(line[2]), folder / "out"))


def damage_first(out: Path, damage: Damage) -> None:
    """Damage the first part, or its shard's record."""
    part = min((out / "data").iterdir())
    damage(part, out / "_embed" / "rejects" / f"{part.stem.rsplit('-', 1)[1]}.jsonl.zst")


@pytest.mark.parametrize("damage", [flip, spoil_rejects])
def test_the_same_line_redoes_it(
    embed_corpus: Command, line: tuple[object, ...], tmp_path: Path, damage: Damage
) -> None:
    """`verify --repair` ends with 75, the run's line makes the same bytes again, and then all is sound."""
    out = copied(line, tmp_path)
    damage_first(out, damage)
    repaired = embed_corpus("verify", out, "--repair")
    assert repaired.returncode == 75, repaired.stderr
    assert repaired.stdout.startswith("aside ")
    again = embed_corpus("run", line[1], out, *line[3:])
    assert again.returncode == 0, again.stderr
    assert "1 of them new" in again.stdout
    for folder in ("data", "_embed/rejects"):
        assert files(out, folder) == files(Path(str(line[2])), folder)
    sound = embed_corpus("verify", out, "--repair", "--sample", "0")
    assert sound.returncode == 0, sound.stdout
    assert "aside" not in sound.stdout


@pytest.mark.parametrize("column", ["doc_id", "char_end", "content_hash", "embedding"])
def test_damage_in_any_column_without_a_note(line: tuple[object, ...], tmp_path: Path, column: str) -> None:
    """Where neither note nor snapshot has a part's checksum, those of its pages tell a flipped bit, in any column."""
    out = copied(line, tmp_path)
    for folder in ("stats", "snapshots"):
        shutil.rmtree(out / "_embed" / folder)
    part = min((out / "data").iterdir())
    group = pq.read_metadata(part).row_group(0)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith(column))
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(part.read_bytes())
    content[first + chunk.total_compressed_size - 2] ^= 1
    part.write_bytes(content)
    assert len(repair(out).reasons) == 1
    assert not part.exists()
