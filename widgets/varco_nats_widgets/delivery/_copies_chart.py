"""The copies of events, and the duplicate windows in which they arrived. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from varco_nats_widgets.delivery._lane_marks import Marks
from varco_nats_widgets.record._rows import KINDS
from varco_nats_widgets.record._table import order_of

MAX_LANES = 24
"""Events that are drawn."""

_FEW = 6  # events that are drawn where none was published more than once
_PUBLISHED, _STORED, _DROPPED = (
    KINDS.index(kind) for kind in ("published", "stored", "deduplicated")
)


class Band(NamedTuple):
    """A stretch of time that is shaded on a lane: `start` and `end` in seconds since the epoch."""

    lane: int
    start: float
    end: float


class Copies(NamedTuple):
    """What a chart shows of copies, with a lane for each event.

    Attributes:
        rows: for each mark, the position of its copy in the frame.
    """

    marks: Marks
    lanes: list[tuple[int, str]]
    bands: list[Band]
    rows: list[int]
    note: str


def copies_chart(
    copies: pd.DataFrame, selected: int = 0, duplicate_window: float | None = None
) -> Copies:
    """The copies of the events that were published more than once, or of the first ones.

    Args:
        selected: the number of an event that is shown in any case; 0 for none.
        duplicate_window: of the stream, in seconds; None where it is not known.
    """
    counts = copies["event"].value_counts()
    repeated = sorted(counts.index[counts > 1])
    chosen = repeated[:MAX_LANES] or sorted(counts.index)[:_FEW]
    if selected in counts.index and selected not in chosen:
        chosen = sorted([*chosen[: MAX_LANES - 1], selected])
    notes = []
    if len(copies) and not repeated:
        notes.append("no event was published more than once")
    if len(repeated) > MAX_LANES:
        notes.append(f"{len(chosen)} of {len(repeated):,} events with more than one copy")
    stored = (copies["arrived_at"].notna() & ~copies["dropped"]).any()
    if duplicate_window is not None and stored and copies["window_ends_at"].isna().all():
        notes.append("no message ids were sent, so that the stream could not drop duplicates")
    places = np.flatnonzero(copies["event"].isin(chosen).to_numpy())
    shown = copies.iloc[places]
    lanes = [
        (event, f"event {event}{f' · {counts[event]} copies' if counts[event] > 1 else ''}")
        for event in chosen
    ]
    lane_of = {event: lane for lane, event in enumerate(chosen)}
    events = shown["event"].to_numpy()
    on = np.array([lane_of[event] for event in events], dtype=np.int64)
    published, arrived = _seconds(shown["published_at"]), _seconds(shown["arrived_at"])
    ends = _seconds(shown["window_ends_at"])
    dropped = shown["dropped"].to_numpy(dtype=bool)
    came = ~np.isnan(arrived)
    times = np.where(came, arrived, published)
    order = order_of(times)
    marks = Marks.of(
        times,
        events,
        np.where(came, np.where(dropped, _DROPPED, _STORED), _PUBLISHED),
        on,
        np.zeros(len(on), dtype=np.int64),
    )
    opened = np.flatnonzero(came & ~dropped & ~np.isnan(ends))
    bands = [Band(int(on[index]), float(arrived[index]), float(ends[index])) for index in opened]
    rows = places[order].tolist()
    named = [(lane_of[event], name) for event, name in lanes]
    return Copies(marks, named, bands, rows, "; ".join(notes))


def _seconds(times: pd.Series[pd.Timestamp]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Times as seconds since the epoch, NaN where there is none."""
    found = np.array(times.to_numpy(dtype="datetime64[us]").astype(np.int64) / 1e6)
    found[times.isna().to_numpy()] = np.nan
    return found
