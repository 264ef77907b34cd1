"""Minimum, median, maximum and histogram of numbers, in bounded memory. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 16
"""Bars of a histogram."""

_BARS = "▁▂▃▄▅▆▇█"

type Histogram = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]
"""The edges of bins of equal width, and how many values are in each. Edges are floats, or
`datetime64[us]` (UTC) for times."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How numbers are distributed."""

    lowest: float
    """Exact, also for integers of any size."""
    median: float
    highest: float
    """Exact, likewise."""
    histogram: Histogram
    sampled: bool
    """Whether the median and the histogram are of a part of the numbers, chosen at random."""

    @property
    def sparkline(self) -> str:
        """The histogram as text; the lowest bar is no number at all."""
        counts = self.histogram[1]
        heights = np.ceil(counts * (len(_BARS) - 1) / counts.max()).astype(int)
        return "".join(_BARS[height] for height in heights.tolist())


def as_times(histogram: Histogram) -> Histogram:
    """The histogram of microseconds since 1970 as one of times."""
    edges, counts = histogram
    return np.round(edges).astype(np.int64).view("datetime64[us]"), counts


class Numbers:
    """Collects finite numbers; keeps all of them, or as many as there is room for."""

    __slots__ = ("_highest", "_kept", "_lowest", "_random", "_seen", "_size")

    def __init__(self) -> None:
        self._lowest: Any = None
        self._highest: Any = None
        self._seen = 0
        self._kept: npt.NDArray[np.float64] = np.empty(0)  # the first `_size` of it
        self._size = 0
        # the same messages give the same statistics
        self._random = np.random.default_rng(0)

    def add(self, values: Sequence[float], numbers: npt.NDArray[np.float64], room: int) -> None:
        """Add these too.

        Args:
            values: integers of any size, or floats.
            numbers: the same as floats.
            room: how many numbers may be kept; it may become less from call to call.
        """
        finite = np.isfinite(numbers)
        if not finite.all():
            values = [value for value, is_finite in zip(values, finite, strict=True) if is_finite]
            numbers = numbers[finite]
        if not len(numbers):
            return
        lowest, highest = min(values), max(values)
        self._lowest = lowest if self._lowest is None else min(self._lowest, lowest)
        self._highest = highest if self._highest is None else max(self._highest, highest)
        if self._size > room:
            self._kept = self._random.permutation(self._kept[: self._size])[:room]
            self._size = room
        free = room - self._size if self._size == self._seen else 0
        self._append(numbers[:free], room)
        self._replace(numbers[free:])

    def _append(self, numbers: npt.NDArray[np.float64], room: int) -> None:
        end = self._size + len(numbers)
        if end > len(self._kept):
            kept = np.empty(min(max(2 * len(self._kept), end), room))
            kept[: self._size] = self._kept[: self._size]
            self._kept = kept
        self._kept[self._size : end] = numbers
        self._size = end
        self._seen += len(numbers)

    def _replace(self, numbers: npt.NDArray[np.float64]) -> None:
        """Have each number take a random place, with the odds that every number seen has."""
        seen = self._seen + np.arange(1, len(numbers) + 1)
        places = (self._random.random(len(numbers)) * seen).astype(np.int64)
        chosen = places < self._size
        self._kept[places[chosen]] = numbers[chosen]
        self._seen += len(numbers)

    def spread(self) -> Spread | None:
        """How they are distributed; None if there are none."""
        if not self._seen:
            return None
        kept = self._kept[: self._size]
        # halves, whose sums and differences are not infinite
        low, high = float(self._lowest) / 2, float(self._highest) / 2
        edges = 2 * np.linspace(low, high, BINS + 1) if high > low else 2 * np.array([low, high])
        bins = np.searchsorted(edges[1:-1], kept, side="right")
        counts = np.bincount(bins, minlength=len(edges) - 1)
        ordered = np.partition(kept, [(len(kept) - 1) // 2, len(kept) // 2])
        median = float(ordered[(len(kept) - 1) // 2] / 2 + ordered[len(kept) // 2] / 2)
        return Spread(
            self._lowest, median, self._highest, (edges, counts), sampled=self._size < self._seen
        )


def as_floats(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Integers of any size and floats as floats; those that are too large are infinite."""
    try:
        return np.array(values, dtype=np.float64)
    except OverflowError:
        return np.array([_as_float(value) for value in values], dtype=np.float64)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return np.inf
