"""Which columns a table of events shows, and in which order. Pure."""

from __future__ import annotations

import pandas as pd

_LAST = ("timestamp", "event_id", "raw")


class ColumnOrder:
    """Puts columns that tell rows apart first; a column keeps its place as rows come and go.

    Args:
        several: whether the events are of several channels; set later when a frame shows that.
    """

    def __init__(self, *, several: bool = False) -> None:
        self._several = several
        self._known: dict[str, None] = {}

    def of(self, frame: pd.DataFrame, *, keep: bool = False) -> list[str]:
        """The columns to show for these rows, new ones after those of earlier frames.

        Args:
            keep: show the columns of earlier frames too that this one does not have.
        """
        names = [str(name) for name in frame.columns]
        if not names:
            return []
        self._several = self._several or frame["channel"].nunique() > 1
        self._known |= dict.fromkeys(names)
        shown = dict.fromkeys(n for n in self._known if keep or n in names)
        first = ["stored_at", *(["channel"] if self._several else []), "event_type", "decode_error"]
        payload = [name for name in shown if name not in {*first, *_LAST, "channel"}]
        return [*(n for n in first if n in shown), *payload, *(n for n in _LAST if n in shown)]
