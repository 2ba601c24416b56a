"""The columns of all files together: which are missing where, and the one type of each kept column in every part."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pyarrow as pa

from embed_corpus.errors import DataError
from embed_corpus.source.kinds import NAMES, first_row, fits_kinds, type_of_kinds
from embed_corpus.source.partitions import folder_keys, folder_value, type_of_values
from embed_corpus.source.types import common_type, fits_text, wider

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from embed_corpus.source.columns import Columns
    from embed_corpus.source.formats.base import Source

__all__ = ["KEEP_TYPES", "check_missing", "kept_types", "told_of_columns"]

KEEP_TYPES = {"text": pa.string(), "int64": pa.int64(), "double": pa.float64(), "bool": pa.bool_()}
"""What `--keep-type` may name."""


def check_missing(sources: Sequence[Source], columns: Columns) -> list[str]:
    """Return what is wrong: a column that no file has, and with `strict` each file that lacks one."""
    bad: list[str] = []
    for name, files in _lacking(sources).items():
        if columns.strict or all(name in source.lacks for source in sources):
            bad += [lacks(source.path, name, source.names, columns) for source in files]
    return bad


def lacks(path: str, name: str, names: Sequence[str], columns: Columns) -> str:
    """Say that a file lacks a column, and which it has."""
    flag = "--text-column" if name in columns.text else "--keep" if name in columns.keep else "--id-column"
    above = f"/{name}=" in path
    hint = f" (It is the key of a folder above INPUT: name the folder above {name}=… as INPUT.)" if above else ""
    there = ", ".join(names) or "none"
    return f"{path} has no column {name!r}. It has: {there}. Name one with {flag}.{hint}"


def _lacking(sources: Iterable[Source]) -> dict[str, list[Source]]:
    """Return the files that lack a column, by column; not those that have no row to tell."""
    found = defaultdict(list)
    for source in sources:
        for name in source.lacks if source.names else ():
            found[name].append(source)
    return found


def told_of_columns(sources: Sequence[Source], columns: Columns) -> Iterator[str]:
    """Yield what a user should know of columns that differ between files: missing ones, widened ones, folder keys."""
    for name, files in _lacking(sources).items():
        yield f"column {name!r} is null in {len(files)} of {len(sources)} files, which lack it, e.g. {files[0].path}"
    for name in columns.keep:
        if len(kinds := _of_parquet(sources, name)) > 1:
            found, made = " and ".join(map(str, kinds)), _type_of(name, list(sources), columns)
            yield f"kept column {name!r} is {found} in the files, {made} in the parts"
        both = (source.path for source in sources if _own_beside_folder(source, name))
        if (path := next(both, None)) is not None:
            yield f"column {name!r} of the files counts, not the key of their folders, e.g. in {path}"


def _own_beside_folder(source: Source, name: str) -> bool:
    """Tell whether a file has a column of its own that its folders name, too."""
    own = "=" in source.relative and name not in (*source.lacks, *source.from_folder)
    return own and name in folder_keys(source.relative)


def kept_types(sources: Iterable[Source], columns: Columns) -> dict[str, pa.DataType]:
    """Return the one type each kept column has in every part.

    Parquet files tell it, JSONL files by their values, folders by theirs; where these differ, it is the type that holds
    all of them unchanged, or the one chosen with `--keep-type`. A column without a single value is text.

    Raises:
        DataError: there is no such type, or a value does not fit the chosen one; naming where.
    """
    sources = list(sources)
    return {name: _type_of(name, sources, columns) for name in columns.keep}


def _type_of(name: str, sources: list[Source], columns: Columns) -> pa.DataType:
    parquet = _of_parquet(sources, name)
    seen: dict[str, Source] = {}
    for source in sources:
        for kind in source.kinds.get(name, ()):
            seen.setdefault(kind, source)
    folders = [(folder_keys(source.relative)[name], source) for source in sources if name in source.from_folder]
    if (chosen := KEEP_TYPES.get(dict(columns.types).get(name, ""))) is not None:
        _check_chosen(name, chosen, parquet, seen, folders)
        return chosen
    _check_strict(name, parquet, columns)
    claims = [(kind, f"{kind} in {source.path}") for kind, source in parquet.items()]
    claims += _claims_of_folders(folders, columns)
    claims += _claims_of_lines(name, parquet, seen)
    if not claims:
        return pa.string()
    found = common_type([kind for kind, _ in claims])
    if found is None:
        raise DataError(_mixed(name, _two_of(claims)))
    return found


def _claims_of_folders(folders: list[tuple[str | None, Source]], columns: Columns) -> list[tuple[pa.DataType, str]]:
    """Return the type that the names of folders have, and where; nothing if all are null."""
    values = {value: source for value, source in folders if value is not None}
    if not values:
        return []
    kind = type_of_values(values) if columns.partition_types else pa.string()
    value, source = next(iter(values.items()))
    return [(kind, f"{'text' if kind == pa.string() else kind}, {value!r}, in the folder names of {source.path}")]


def _claims_of_lines(
    name: str, parquet: dict[pa.DataType, Source], seen: dict[str, Source]
) -> list[tuple[pa.DataType, str]]:
    """Return the type of the values in JSONL files, and where; nothing if they have none of their own.

    Objects and lists beside a nested column of Parquet are fitted to it one by one.
    """
    kind = type_of_kinds(seen)
    if kind is None:
        raise DataError(_mixed(name, _two_kinds(seen, name)))
    told = [kind for kind in seen if kind != "absent"]
    if not told or (told == ["json"] and any(map(pa.types.is_nested, parquet))):
        return []
    if told == ["int"] and any(map(pa.types.is_floating, parquet)):
        kind = pa.float64()  # which holds them, small as they are
    return [(kind, _place(name, told[0], seen[told[0]]))]


def _of_parquet(sources: Iterable[Source], name: str) -> dict[pa.DataType, Source]:
    """Return the types that a kept column has in Parquet files, and the first file of each."""
    found: dict[pa.DataType, Source] = {}
    for source in sources:
        if (kind := source.keep_types.get(name)) is not None:
            found.setdefault(kind, source)
    return found


def _check_strict(name: str, parquet: dict[pa.DataType, Source], columns: Columns) -> None:
    if columns.strict and len(parquet) > 1:
        (a, b) = list(parquet.items())[:2]
        raise DataError(
            f"kept column {name!r} is {a[0]} in {a[1].path} but {b[0]} in {b[1].path}, which --strict-schema refuses. "
            "Convert one of them, or drop --strict-schema."
        )


def _check_chosen(
    name: str,
    chosen: pa.DataType,
    parquet: dict[pa.DataType, Source],
    seen: dict[str, Source],
    folders: list[tuple[str | None, Source]],
) -> None:
    """Refuse a type chosen with `--keep-type` that a file does not fit."""
    flag = next(text for text, kind in KEEP_TYPES.items() if kind == chosen)
    remedy = f"Give --keep-type {name}= another type, or do not --keep it."
    for kind, source in parquet.items():
        fits = wider(kind, chosen) == chosen or (chosen == pa.string() and _has_text(kind))
        if not fits:
            raise DataError(f"--keep-type {name}={flag}: the column is {kind} in {source.path}. {remedy}")
    for kind in seen.keys() - fits_kinds(chosen):
        raise DataError(f"--keep-type {name}={flag}: not {_place(name, kind, seen[kind])}. {remedy}")
    for value, source in folders:
        try:
            folder_value(value, chosen)
        except DataError as error:
            raise DataError(f"--keep-type {name}={flag}, {source.path}: {error}") from None


def _has_text(kind: pa.DataType) -> bool:
    """Tell whether each value of a type has one written form, which Arrow knows."""
    if pa.types.is_nested(kind):
        return False
    tells = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, fits_text)
    return any(told(kind) for told in (*tells, pa.types.is_date, pa.types.is_time, pa.types.is_timestamp))


def _two_kinds(seen: dict[str, Source], name: str) -> list[str]:
    """Return where two kinds of JSON values stand that no type holds together; or one that none holds at all."""
    held_by_none = [kind for kind in ("huge", "beyond") if kind in seen]
    pairs = [(a, b) for a in seen for b in seen if type_of_kinds({a, b}) is None and "absent" not in (a, b)]
    two = held_by_none[:1] + [kind for kind in seen if kind not in (*held_by_none, "absent")][:1]
    chosen = two if held_by_none else pairs[0]
    rows = {kind: first_row(seen[kind].path, name, frozenset([kind])) for kind in chosen}
    ordered = sorted(chosen, key=lambda kind: (seen[kind].relative, rows[kind]))
    return [_told(kind, seen[kind], rows[kind]) for kind in ordered]


def _two_of(claims: list[tuple[pa.DataType, str]]) -> list[str]:
    """Return two claims that no type holds together, else the first and the last."""
    for i, (kind, told) in enumerate(claims):
        for other, also in claims[:i]:
            if wider(kind, other) is None:
                return [also, told]
    return [claims[0][1], claims[-1][1]]


def _place(name: str, kind: str, source: Source) -> str:
    """Say where the first value of a kind stands."""
    return _told(kind, source, first_row(source.path, name, frozenset([kind])))


def _told(kind: str, source: Source, row: int) -> str:
    return f"{NAMES[kind]} in {source.path}, row {row}"


def _mixed(name: str, places: list[str]) -> str:
    return (
        f"kept column {name!r} is {' but '.join(places)}: one dataset needs one type, and none holds that unchanged. "
        f"Convert one of them, keep it as text with --keep-type {name}=text, or do not --keep it."
    )
