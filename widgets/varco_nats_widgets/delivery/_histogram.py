"""How long steps took: a histogram for each kind of step, all on one logarithmic scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from varco_nats_widgets._ui.views import BrowserWidget, static
from varco_nats_widgets.frames._cells import clean, escape

_BINS_PER_DECADE = 10
_MIN = 1e-6  # seconds; clocks are not finer


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of one kind of durations.

    Attributes:
        counts: how many durations are in each bin.
        count: how many there are; those below 0 count as the shortest.
        median, p95, longest: in seconds, NaN where there are none.
    """

    name: str
    look: str
    counts: list[int]
    count: int
    median: float
    p95: float
    longest: float


def spreads_of(
    values: Mapping[str, tuple[str, npt.NDArray[np.float64]]],
) -> tuple[list[float], list[Spread]]:
    """The edges of bins of equal width on a logarithmic scale, and the spreads in them.

    Args:
        values: by name, the mark to show and durations in seconds; NaN is left out.
    """
    known = {
        name: (look, np.maximum(times[~np.isnan(times)], _MIN))
        for name, (look, times) in values.items()
    }
    every = np.concatenate([times for _, times in known.values()] or [np.empty(0)])
    if len(every):
        low = np.floor(np.log10(every.min()) * _BINS_PER_DECADE)
        high = np.floor(np.log10(every.max()) * _BINS_PER_DECADE) + 1
        edges = 10 ** (np.arange(low, high + 1) / _BINS_PER_DECADE)
        edges[0], edges[-1] = min(edges[0], every.min()), max(edges[-1], every.max())
    else:
        edges = np.array([_MIN, 1.0])
    spreads = []
    for name, (look, times) in known.items():
        counts = np.histogram(times, edges)[0].tolist()
        middle, p95 = np.quantile(times, [0.5, 0.95]) if len(times) else (np.nan, np.nan)
        longest = times.max() if len(times) else np.nan
        spreads.append(
            Spread(name, look, counts, len(times), float(middle), float(p95), float(longest))
        )
    return edges.tolist(), spreads


class Durations(BrowserWidget):
    """Draws the spreads of several kinds of durations, each below the other."""

    _esm = static("durations.js")
    _css = static("durations.css")

    title = traitlets.Unicode("").tag(sync=True)
    """Shown above it."""

    _edges = traitlets.List[Any]().tag(sync=True)
    _spreads = traitlets.List[Any]().tag(sync=True)

    def __init__(self, title: str = "") -> None:
        self._shown: tuple[list[float], list[Spread]] = ([], [])
        super().__init__(title=clean(title))

    def __repr__(self) -> str:
        return f"Durations({self.title!r})"

    @property
    def spreads(self) -> list[Spread]:
        """What is shown."""
        return self._shown[1]

    def set_values(self, values: Mapping[str, tuple[str, npt.NDArray[np.float64]]]) -> None:
        """Show these durations, as `spreads_of` takes them; from any thread."""
        self._shown = spreads_of(values)
        self._coalescer.trigger()

    def _push(self) -> None:
        edges, spreads = self._shown
        self._edges = edges
        self._spreads = [
            {name: None if value != value else value for name, value in asdict(spread).items()}
            for spread in spreads  # NaN, which is no JSON, is not equal to itself
        ]

    def static_html(self) -> str:
        """The numbers as a table."""
        head = "".join(f"<th>{name}</th>" for name in ("", "events", "median", "p95", "longest"))
        rows = "".join(
            f"<tr><th>{escape(spread.name)}</th><td>{spread.count:,}</td>"
            f"<td>{_in_words(spread.median)}</td><td>{_in_words(spread.p95)}</td>"
            f"<td>{_in_words(spread.longest)}</td></tr>"
            for spread in self._shown[1]
        )
        return f"<table><tr>{head}</tr>{rows}</table>"


def _in_words(seconds: float) -> str:
    if np.isnan(seconds):
        return ""
    return f"{seconds * 1000:,.3g} ms" if seconds < 1 else f"{seconds:,.3g} s"
