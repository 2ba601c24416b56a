"""Where a column that was asked for lies in a file: at the top, or by a dotted name inside a struct."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ABSENT", "Field", "field_of", "n_leaves", "value_of"]

ABSENT = object()
"""What `value_of` gives for a column that an object has not."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column as a Parquet file has it.

    Attributes:
        path: its name, after those of the structs around it.
        kind: its type.
        leaves: the numbers of the Parquet columns that hold it.
        alike: how many columns beside each other bear one name of the path; over 1: which is meant would be a guess.
    """

    path: tuple[str, ...]
    kind: pa.DataType
    leaves: range
    alike: int

    def values(self, batch: pa.RecordBatch) -> pa.Array:
        """Return the column's values, as far as a batch of its leaves holds them; null where a struct is null."""
        top = batch[self.path[0]]
        return pc.struct_field(top, list(self.path[1:])) if len(self.path) > 1 else top


def field_of(schema: pa.Schema, name: str) -> Field | None:
    """Find a column: one of that very name if there is one, else inside a struct, `doc.text`; None if there is none."""
    return _among(list(schema), name, 0)


def _among(fields: list[pa.Field], name: str, first: int) -> Field | None:
    """Find a column among fields that stand beside each other; their leaves begin with number `first`."""
    inside = None
    names = [field.name for field in fields]
    for field in fields:
        leaves = range(first, first + n_leaves(field.type))
        first = leaves.stop
        if field.name == name:
            return Field((name,), field.type, leaves, names.count(name))
        if inside is None and name.startswith(f"{field.name}.") and pa.types.is_struct(field.type):
            found = _among(list(field.type), name.removeprefix(f"{field.name}."), leaves.start)
            alike = names.count(field.name)
            inside = found and Field((field.name, *found.path), found.kind, found.leaves, max(alike, found.alike))
    return inside


def n_leaves(kind: pa.DataType) -> int:
    """Count the Parquet columns that hold values of a type."""
    if isinstance(kind, pa.BaseExtensionType):
        return n_leaves(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return n_leaves(kind.value_type)
    if not pa.types.is_nested(kind):
        return 1
    return (
        _sum(kind.field(i).type for i in range(kind.num_fields))
        if not pa.types.is_map(kind)
        else _sum((kind.key_type, kind.item_type))
    )


def _sum(kinds: Iterable[pa.DataType]) -> int:
    return sum(n_leaves(kind) for kind in kinds)


def value_of(fields: dict[str, Any], name: str) -> Any:
    """Do the same for an object of JSON; `ABSENT` if it has no such column."""
    if name in fields:
        return fields[name]
    at = name.find(".")
    while at >= 0:
        inner = fields.get(name[:at])
        if isinstance(inner, dict) and (value := value_of(inner, name[at + 1 :])) is not ABSENT:
            return value
        at = name.find(".", at + 1)
    return ABSENT
