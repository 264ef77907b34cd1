"""Finds a text in the rows of a table as they are shown. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import pandas as pd

from varco_nats_widgets._ui.rows import formatted

_MOST = 1000  # places that are told one by one
_AT_ONCE = 500  # rows


class Found(NamedTuple):
    """Where a text is."""

    places: list[tuple[int, int]]
    """The first ones: the row and the column, of which 0 is the index."""
    total: int
    """How many there are."""


def find(
    frame: pd.DataFrame,
    labels: Sequence[str],
    text: str,
    times: Collection[str] = (),
    figures: Collection[str] = (),
) -> Found:
    """The cells that show `text`, whatever the case.

    Args:
        labels: the columns that are shown, in their order.
        times: those of times, which are shown with a space between the day and the hours.
        figures: as in `formatted`.
    """
    needle = text.casefold()
    spaced = {place for place, label in enumerate(labels, 1) if label in times}
    places: list[tuple[int, int]] = []
    total = 0
    if not needle:
        return Found(places, total)
    for first in range(0, len(frame), _AT_ONCE):
        _, rows = formatted([frame.iloc[first : first + _AT_ONCE]], labels, figures=figures)
        for row, cells in enumerate(rows, first):
            for column, cell in enumerate(cells):
                if needle in (cell.replace("T", " ") if column in spaced else cell).casefold():
                    total += 1
                    if len(places) < _MOST:
                        places.append((row, column))
    return Found(places, total)
