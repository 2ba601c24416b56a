"""From the values of a column to text: that of a document, or its id."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embed_corpus.data import Reason
from embed_corpus.source.types import plain_type

__all__ = ["Bad", "ids_of", "most_whole", "text_of", "valid"]

Bad = dict[int, tuple[Reason, str]]
"""By row: the reason and the detail of a reject."""

_GAP = "\n\n"
_DASHED = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])
"""Where the hex digits of a UUID stand."""


def text_of(array: pa.Array) -> pa.StringArray:
    """Return values of any type that `fits_text` as text, which may be no UTF-8; lists joined with a blank line."""
    kind = array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _joined(array)
    if pa.types.is_dictionary(kind):
        return text_of(array.cast(kind.value_type))
    if kind == pa.string():
        return array
    if plain_type(kind) == pa.string():
        return array.cast(pa.string())
    return array.cast(pa.binary()).view(pa.string())


def _joined(lists: pa.ListArray) -> pa.StringArray:
    """Join the texts of each list; null and empty ones leave no gap."""
    items = pc.fill_null(text_of(lists.flatten()), "")
    row = np.asarray(pc.list_parent_indices(lists))
    full = np.asarray(pc.greater(pc.binary_length(items), 0))
    counts = np.bincount(row[full], minlength=len(lists))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    return pc.binary_join(pa.ListArray.from_arrays(offsets, items.filter(pa.array(full))), _GAP)


def ids_of(array: pa.Array, name: str, bad: Bad) -> pa.StringArray:
    """Return values of any type that `fits_id` as text, null where there is none; what is wrong goes into `bad`."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        return ids_of(array.cast(kind.value_type), name, bad)
    if kind == pa.uuid():
        return _uuids(array.storage)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        return _whole(array, name, bad)
    return valid(text_of(array), name, bad)


def most_whole(kind: pa.DataType) -> int:
    """Return the number from which on a floating type no longer holds every whole one."""
    return 1 << {16: 11, 32: 24, 64: 53}[kind.bit_width]


def _whole(array: pa.Array, name: str, bad: Bad) -> pa.StringArray:
    """Return floats that are whole numbers, as pandas makes of numbers where one is missing, without their `.0`."""
    numbers = pc.fill_null(array.cast(pa.float64()), float("nan")).to_numpy()
    missing = np.isnan(numbers)
    sound = ~missing & (np.abs(numbers) < most_whole(array.type)) & (numbers == np.trunc(numbers))
    for i in np.flatnonzero(~sound & ~missing).tolist():
        bad.setdefault(
            i, (Reason.WRONG_TYPE, f"{name} is {numbers[i]}, no whole number that {array.type} holds exactly")
        )
    return pa.array(np.where(sound, numbers, 0).astype(np.int64), mask=~sound).cast(pa.string())


def _uuids(stored: pa.FixedSizeBinaryArray) -> pa.StringArray:
    """Write UUIDs, 16 bytes each, as they are known: 8-4-4-4-12 hex digits."""
    n = len(stored)
    filled = pc.fill_null(stored, bytes(16))
    raw = np.frombuffer(filled.buffers()[1], np.uint8)[16 * filled.offset :][: 16 * n].reshape(n, 16)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.full((n, 36), ord("-"), np.uint8)
    text[:, _DASHED] = digits[np.stack([raw >> 4, raw & 15], axis=2).reshape(n, 32)]
    offsets = pa.array(np.arange(0, 36 * n + 1, 36, dtype=np.int32))
    written = pa.StringArray.from_buffers(n, offsets.buffers()[1], pa.py_buffer(text.tobytes()))
    return pc.if_else(stored.is_valid(), written, pa.scalar(None, pa.string()))


def valid(array: pa.StringArray, name: str, bad: Bad) -> pa.StringArray:
    """Null out the values that are no UTF-8 and note them in `bad`; Arrow does not check on reading."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        values = array.cast(pa.binary()).to_pylist()
        for i, value in enumerate(values):
            try:
                value = value and value.decode()  # noqa: PLW2901
            except UnicodeDecodeError as error:
                bad.setdefault(i, (Reason.INVALID_UTF8, f"{name}, byte {error.start}"))
                values[i] = None
        return pa.array(values, pa.binary()).cast(pa.string())
    return array
