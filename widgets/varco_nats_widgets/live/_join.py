"""Joining frames of events; the result equals the frame of one `FrameBuilder`. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from varco_nats_widgets.frames import COLUMNS, MAX_FIELDS, column_of
from varco_nats_widgets.frames._headers import HEADERS
from varco_nats_widgets.frames._payload import MORE

_LAST = (MORE, "decode_error", "raw")
_CHUNKS = 64
_INT64, _BOOL, _FLOAT64 = np.dtype("int64"), np.dtype("bool"), np.dtype("float64")
_WIDER: dict[Any, Any] = {_INT64: pd.Int64Dtype(), _BOOL: pd.BooleanDtype()}


def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all `frames`; this is fast if their columns have the same types.

    Payload columns beyond `MAX_FIELDS` become dicts in `data.more`.
    """
    if len(frames) == 1:
        return frames[0]
    first = frames[0]
    if all(
        frame.columns.equals(first.columns) and frame.dtypes.equals(first.dtypes)
        for frame in frames[1:]
    ):
        return _compact(pd.concat(frames))
    names = list(dict.fromkeys(name for frame in frames for name in frame.columns))
    arrays = [{name: _array(frame[name]) for name in frame.columns} for frame in frames]
    lengths = [len(frame) for frame in frames]
    nothing = cache(_nothing)
    columns = {
        name: _column([part.get(name) for part in arrays], lengths, nothing) for name in names
    }
    index = first.index.append([frame.index for frame in frames[1:]])
    frame = pd.DataFrame(columns, index=index, copy=False)
    frame.attrs = dict(first.attrs)
    return _compact(_bounded(frame))


def _column(parts: list[Any], lengths: list[int], nothing: Callable[[Any, int], Any]) -> Any:
    """The arrays `parts` as one array; None stands for a frame without this column."""
    dtypes = {part.dtype for part in parts if part is not None}
    if any(part is None for part in parts) or len(dtypes) > 1:
        dtypes = {_WIDER.get(dtype, dtype) for dtype in dtypes}
    if len(dtypes) > 1:
        values = [_values(part, length) for part, length in zip(parts, lengths, strict=True)]
        return column_of([value for part in values for value in part])
    (dtype,) = dtypes
    arrays = [
        nothing(dtype, length) if part is None else _as(part, dtype)
        for part, length in zip(parts, lengths, strict=True)
    ]
    if isinstance(dtype, np.dtype):
        return np.concatenate(arrays)
    return pd.concat([pd.Series(array, copy=False) for array in arrays], ignore_index=True).array


def _array(column: pd.Series[Any]) -> Any:
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array


def _as(part: Any, dtype: Any) -> Any:
    return part if part.dtype == dtype else pd.array(part, dtype=dtype)


def _nothing(dtype: Any, length: int) -> Any:
    if dtype == _FLOAT64:
        return np.full(length, np.nan)
    if isinstance(dtype, np.dtype):
        return np.empty(length, dtype=object)
    return pd.array([None] * length, dtype=dtype)


def _values(part: Any, length: int) -> list[Any]:
    """The values as Python objects, None where one is missing."""
    if part is None:
        return [None] * length
    if part.dtype.kind == "O" and isinstance(part, np.ndarray):
        return list(part)
    values = zip(part.tolist(), pd.isna(part), strict=True)
    return [None if missing else value for value, missing in values]


def _bounded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its columns in the order of a `FrameBuilder`, and no more than that makes."""
    last = [name for name in _LAST if name in frame.columns]
    others = [name for name in frame.columns if name not in _LAST]
    own = [*COLUMNS, *frame.attrs.get(HEADERS, ())]
    most = len(own) + MAX_FIELDS
    if len(others) > most:  # columns that have lost all their rows make room
        empty = frame.columns[frame.isna().all()]
        others = [name for name in others if name in own or name not in empty]
    if [*others, *last] != list(frame.columns):
        frame = frame[[*others, *last]]
    return _folded(frame, others[most:]) if len(others) > most else frame


def _compact(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its texts in few Arrow chunks: each join adds one."""
    changed = {}
    for name in frame.columns[frame.dtypes == "str"]:
        array: Any = frame[name].array
        chunks = getattr(array, "_pa_array", None)
        if chunks is not None and chunks.num_chunks > _CHUNKS:
            changed[name] = type(array)(chunks.combine_chunks(), dtype=array.dtype)
    return frame.assign(**changed) if changed else frame


def _folded(frame: pd.DataFrame, excess: list[str]) -> pd.DataFrame:
    """The frame with the columns `excess` as dicts in `data.more`."""
    rows: list[dict[str, object] | None] = [None] * len(frame)
    if MORE in frame.columns:
        old = frame[MORE].tolist()
        rows = [dict(more) if isinstance(more, dict) else None for more in old]
    for name in excess:
        for row, value in enumerate(frame[name].astype(object).tolist()):
            if value is not None and value is not pd.NA and value == value:
                more = rows[row]
                rows[row] = {name: value} if more is None else {**more, name: value}
    kept = frame.drop(columns=[*excess, MORE], errors="ignore").copy()
    index = sum(name not in ("decode_error", "raw") for name in kept.columns)
    kept.insert(index, MORE, pd.Series(rows, index=kept.index, dtype=object))
    return kept
