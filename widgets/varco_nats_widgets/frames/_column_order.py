"""Which columns a table of events shows, and in which order. Pure."""

from __future__ import annotations

import pandas as pd

_FIRST = ("stored_at", "channel", "event_type")
_LAST = ("decode_error", "timestamp", "event_type", "channel", "event_id")


class ColumnOrder:
    """Puts what people came for first: the payload, after what tells rows apart.

    What is the same for every event of a page comes after the payload. A column keeps its place as
    rows come and go.

    Args:
        several: whether the events are of several channels; set later when a frame shows that.
    """

    def __init__(self, *, several: bool = False) -> None:
        self._first = {"stored_at", *(["channel"] if several else [])}
        self._known: dict[str, None] = {}

    def of(self, frame: pd.DataFrame, *, keep: bool = False) -> list[str]:
        """The columns to show for these rows, new ones after those of earlier frames.

        Args:
            keep: show the columns of earlier frames too that this one does not have.
        """
        names = [str(name) for name in frame.columns]
        if not names:
            return []
        # once there are several, they stay where they are, or columns would jump from page to page
        self._first |= {n for n in ("channel", "event_type") if frame[n].nunique() > 1}
        self._known |= dict.fromkeys(names)
        shown = dict.fromkeys(n for n in self._known if keep or n in names)
        first = [n for n in _FIRST if n in self._first]
        last = [n for n in _LAST if n not in self._first]
        payload = [n for n in shown if n not in {*first, *last, "raw"}]
        # the bytes of what cannot be read are its payload
        return [n for n in (*first, "raw", *payload, *last) if n in shown]
