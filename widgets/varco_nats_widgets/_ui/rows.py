"""The rows behind a table: DataFrames in chunks, numbered from the first row ever added."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types

from varco_nats_widgets._ui.previews import preview, thumbnail
from varco_nats_widgets.frames._cells import clean, format_cell, format_figure, row_id

_SMALL = 1024  # rows; smaller chunks are joined
_MANY_SMALL = 16
_EXACT_FLOAT = 2**53
_IMAGES = 256 * 1024  # characters of images in one window

type Cell = str | list[str]
"""What is in a cell: a text, or a text and the address of an image."""


class _Chunk:
    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame
        self.labels = labels_of(frame)
        self.held = len(frame)  # rows that are kept in memory by this chunk

    def __len__(self) -> int:
        return len(self.frame)

    @cached_property
    def present(self) -> set[str]:
        """The columns that have a value, or had one before rows were dropped."""
        found = self.frame.notna().to_numpy().any(axis=0)
        return {label for label, has_value in zip(self.labels, found, strict=True) if has_value}

    @cached_property
    def spans(self) -> dict[str, tuple[Any, Any]]:
        """The first and the last time in each column of times in UTC."""
        spans = {}
        for place, label in enumerate(self.labels):
            column = self.frame.iloc[:, place]
            if isinstance(column.dtype, pd.DatetimeTZDtype) and str(column.dtype.tz) == "UTC":
                spans[label] = (column.min(), column.max())
        return spans

    def drop(self, rows: int) -> None:
        self.frame = self.frame.iloc[rows:]
        if len(self.frame) < self.held // 4:
            self.frame = self.frame.copy()
            self.held = len(self.frame)


class Rows:
    """Rows numbered by arrival: `base` is the number of the first one that is still there.

    Not thread-safe: the table that owns it has a lock.
    """

    def __init__(self) -> None:
        self._chunks: deque[_Chunk] = deque()
        self._empty = pd.DataFrame()
        self._numeric: dict[str, bool] = {}
        self.index_label = "index"
        self.base = 0
        self.total = 0

    @property
    def labels(self) -> list[str]:
        """The columns' names in order of appearance."""
        return list(self._numeric)

    def is_numeric(self, label: str) -> bool:
        return self._numeric.get(label, False)

    def empty(self) -> list[str]:
        """The columns without a value; none where there are no rows to have one."""
        present = {label for chunk in self._chunks for label in chunk.present}
        return [label for label in self._numeric if label not in present] if self.total else []

    def days(self) -> dict[str, str]:
        """For each column of times the day that all of them are of, "" if they are of several."""
        seen: dict[str, set[str]] = {}
        for chunk in self._chunks:
            for label, (first, last) in chunk.spans.items():
                times = [time for time in (first, last) if time is not pd.NaT]
                seen.setdefault(label, set()).update(f"{time:%Y-%m-%d}" for time in times)
        return {label: days.pop() if len(days) == 1 else "" for label, days in seen.items()}

    def replace(self, frame: pd.DataFrame) -> None:
        """These rows instead of all others."""
        self._chunks.clear()
        self._numeric.clear()
        self._empty = frame.iloc[:0]
        self.base = self.total = 0
        self._add(frame)

    def append(self, frame: pd.DataFrame, keep: int) -> None:
        """Add rows; drop the oldest beyond `keep`."""
        self._add(frame.iloc[-keep:] if keep else frame.iloc[:0])
        skipped = len(frame) - min(len(frame), keep)
        excess = self.total - keep
        while self._chunks and excess >= len(self._chunks[0]):
            excess -= len(self._chunks.popleft())
        if excess > 0:
            self._chunks[0].drop(excess)
        end = self.base + self.total + skipped
        self.total = min(self.total, keep)
        self.base = end - self.total
        self._compact()

    def frame(self) -> pd.DataFrame:
        """All rows as one DataFrame, which is kept instead of its parts."""
        if not self._chunks:
            return self._empty
        if len(self._chunks) > 1:
            self._chunks = deque([_Chunk(joined([chunk.frame for chunk in self._chunks]))])
        return self._chunks[0].frame

    def slice(self, start: int, stop: int) -> list[pd.DataFrame]:
        """The rows numbered from `start` to before `stop`, as views."""
        pieces = []
        first = self.base
        for chunk in self._chunks:
            if first >= stop:
                break
            last = first + len(chunk)
            if last > start:
                pieces.append(chunk.frame.iloc[max(0, start - first) : stop - first])
            first = last
        return pieces

    def _add(self, frame: pd.DataFrame) -> None:
        if not self._chunks:
            self.index_label = clean(str(frame.index.name or "index"))
        for label, dtype in zip(labels_of(frame), frame.dtypes, strict=True):
            numeric = types.is_numeric_dtype(dtype) and not types.is_bool_dtype(dtype)
            if not self._chunks:  # the types of a frame without rows say little
                self._numeric[label] = numeric and len(frame) > 0
            self._numeric.setdefault(label, numeric)
        if len(frame):
            self._chunks.append(_Chunk(frame))
            self.total += len(frame)

    def _compact(self) -> None:
        small: list[_Chunk] = []
        while self._chunks and len(self._chunks[-1]) < _SMALL:
            small.append(self._chunks.pop())
        small.reverse()
        if len(small) >= _MANY_SMALL:
            small = [_Chunk(joined([chunk.frame for chunk in small]))]
        self._chunks.extend(small)


def labels_of(frame: pd.DataFrame) -> list[str]:
    """The columns' names as text, each once: a second `a` is `a.1`."""
    seen: dict[str, None] = {}
    for column in frame.columns:
        label = name = clean(str(column))
        number = 0
        while label in seen:
            number += 1
            label = f"{name}.{number}"
        seen[label] = None
    return list(seen)


def formatted(
    pieces: Iterable[pd.DataFrame],
    labels: Sequence[str],
    max_length: int | None = 200,
    figures: Collection[str] = (),
    *,
    images: bool = False,
) -> tuple[list[int | str], list[list[Any]]]:
    """The rows' ids and cells, the index being the first cell.

    Args:
        max_length: characters of a cell at most; None is whole values, without previews of bytes.
        figures: columns whose integers have grouped thousands.
        images: small ones are there, and not only their previews.
    """
    ids: list[int | str] = []
    rows: list[list[Any]] = []
    previewed = _previewing(images=images)
    for piece in pieces:
        places = {label: place for place, label in enumerate(labels_of(piece))}
        index = piece.index.tolist()
        ids += map(row_id, index)
        cells = [[format_cell(value, max_length) for value in index]]
        for label in labels:
            place = places.get(label)
            if place is None:
                cells.append([""] * len(index))
            else:
                values = piece.iloc[:, place].tolist()
                text_of: Callable[..., Any] = format_cell
                if label in figures:
                    text_of = format_figure
                elif max_length is not None and types.is_object_dtype(piece.dtypes.iloc[place]):
                    text_of = previewed
                cells.append([text_of(value, max_length) for value in values])
        rows += map(list, zip(*cells, strict=True))
    return ids, rows


def _previewing(*, images: bool) -> Callable[[object, int | None], Cell]:
    """`format_cell`, but bytes are previews; with the images that there is room for."""
    room = _IMAGES if images else 0

    def previewed(value: object, max_length: int | None) -> Cell:
        nonlocal room
        if not isinstance(value, bytes):
            return format_cell(value, max_length)
        text = clean(preview(value), max_length)
        address = thumbnail(value) if room else ""
        if not 0 < len(address) <= room:
            return text
        room -= len(address)
        return [text, address]

    return previewed


def sorted_positions(values: pd.Series[Any], descending: bool) -> npt.NDArray[np.intp]:
    """The positions of `values` from the lowest to the highest, or back; missing ones last.

    Equal values keep their order. Mixed kinds are numbers first, then everything else as text.
    """
    values = values.reset_index(drop=True)
    try:
        ordered = values.sort_values(ascending=not descending, kind="stable", na_position="last")
        return np.asarray(ordered.index, dtype=np.intp)
    except (TypeError, ValueError):
        return _mixed_positions(values.tolist(), descending)


def _mixed_positions(values: list[Any], descending: bool) -> npt.NDArray[np.intp]:
    numbers: list[tuple[Any, int]] = []
    texts: list[tuple[Any, int]] = []
    missing = []
    for position, value in enumerate(values):
        text = format_cell(value)
        if text == "" and not isinstance(value, str):
            missing.append(position)
        elif isinstance(value, (int, float)):
            numbers.append((value, position))
        else:
            texts.append((text, position))
    for group in (numbers, texts):
        group.sort(key=lambda pair: pair[0], reverse=descending)  # stable in both directions
    groups = [texts, numbers] if descending else [numbers, texts]
    present = [position for group in groups for _, position in group]
    return np.array(present + missing, dtype=np.intp)


def joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """`frames` one below the other, with every value as it was.

    Integers stay exact where a column is missing in some frames, or has floats in others.
    """
    if len(frames) == 1:
        return frames[0]
    first = frames[0]
    if all(
        frame.columns.equals(first.columns) and frame.dtypes.equals(first.dtypes)
        for frame in frames[1:]
    ):
        return pd.concat(frames)
    frames = [frame.set_axis(labels_of(frame), axis=1) for frame in frames]
    labels = dict.fromkeys(label for frame in frames for label in frame.columns)
    index = frames[0].index.append([frame.index for frame in frames[1:]])
    columns = {label: _joined_column(label, frames) for label in labels}
    return pd.DataFrame(columns, index=index, columns=list(labels))


def _joined_column(label: str, frames: list[pd.DataFrame]) -> Any:
    parts = [frame.get(label) for frame in frames]
    present = [part for part in parts if part is not None]
    dtypes = {part.dtype for part in present}
    wanted = dtypes.pop() if len(dtypes) == 1 else _common(present)
    if len(present) < len(parts):
        wanted = _nullable(wanted)
    columns = [
        pd.Series([None] * len(frame), dtype=wanted)
        if part is None
        else part.reset_index(drop=True).astype(wanted)
        for part, frame in zip(parts, frames, strict=True)
    ]
    return pd.concat(columns, ignore_index=True).array


def _nullable(dtype: Any) -> Any:
    if isinstance(dtype, np.dtype) and dtype.kind in "iu":
        return dtype.name.replace("int", "Int").replace("uI", "UI")
    return "boolean" if dtype == np.dtype(bool) else dtype


def _common(parts: Sequence[pd.Series[Any]]) -> Any:
    """A type that holds exactly what all parts have."""
    kinds = {str(part.dtype) for part in parts}
    if kinds == {"bool", "boolean"}:
        return "boolean"
    if kinds == {"int64", "Int64"}:
        return "Int64"
    if all(types.is_datetime64_any_dtype(part.dtype) for part in parts):
        zones = {str(getattr(part.dtype, "tz", None)) for part in parts}
        # "ns" sorts before "us", as "datetime64[ns" before "datetime64[us"
        return min((part.dtype for part in parts), key=str) if len(zones) == 1 else object
    if kinds <= {"int64", "Int64", "float64"} and all(map(_exact_as_float, parts)):
        return "float64"
    return object


def _exact_as_float(part: pd.Series[Any]) -> bool:
    if not types.is_integer_dtype(part.dtype):
        return True
    return bool(part.notna().all() and part.between(-_EXACT_FLOAT, _EXACT_FLOAT).all())
