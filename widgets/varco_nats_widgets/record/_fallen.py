"""Which events a live record lets fall out when it has no more room. Pure."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import numpy as np

from varco_nats_widgets.record._rows import Row
from varco_nats_widgets.record._table import Table

_KEPT = 0.9  # of the room; the rest is for what comes until the next time


class Dropped(NamedTuple):
    """What fell out of a record: the oldest events, with all their rows."""

    events: int = 0
    rows: int = 0

    def __str__(self) -> str:
        return f"the oldest {self.events:,} events ({self.rows:,} rows) fell out"


class Cut(NamedTuple):
    """A record's rows without those of its oldest events.

    Attributes:
        kept: the rows that stay.
        falls: how much falls out.
        keys: the ids of these events, and the sequences of their messages.
    """

    kept: list[Row]
    falls: Dropped
    keys: list[str | int]


def cut(rows: list[Row], most: int) -> Cut:
    """Whole events fall out, the oldest by their first publishing.

    Args:
        rows: all that the record has.
        most: for how many there is room; some less are kept.
    """
    table = Table(rows)
    of_event = table.events >= 0
    sizes = np.cumsum(np.bincount(table.events[of_event]))
    excess = len(rows) - int(most * _KEPT)
    gone = min(int(np.searchsorted(sizes, excess)) + 1, len(sizes))
    falls = of_event & (table.events < gone)
    oldest = table.times[of_event & ~falls].min(initial=np.inf)
    falls |= ~of_event & (table.times < oldest)  # faults of their time
    seqs = np.unique(table.seqs[falls & (table.seqs >= 0)]).tolist()
    kept = [rows[place] for place in np.sort(table.order[~falls]).tolist()]
    return Cut(kept, Dropped(gone, int(falls.sum())), [*table.event_ids[:gone].tolist(), *seqs])


class Fallen:
    """The events that fell out, so that what comes of them later is left out too.

    Attributes:
        count: how many they are.
    """

    def __init__(self) -> None:
        self.count = Dropped()
        self._keys: dict[str | int | None, None] = {}

    def add(self, made: Cut, most: int) -> None:
        """These too; of the keys the newest `most` are remembered."""
        self._keys |= dict.fromkeys(made.keys)
        for key in list(islice(self._keys, max(0, len(self._keys) - most))):
            del self._keys[key]
        self.count = Dropped(*(sum(both) for both in zip(self.count, made.falls, strict=True)))

    def without(self, rows: list[Row]) -> list[Row]:
        """Those of `rows` that are not of events that fell out; the others are counted."""
        if not self._keys:
            return rows
        kept = [row for row in rows if (row.event_id or row.seq) not in self._keys]
        self.count = self.count._replace(rows=self.count.rows + len(rows) - len(kept))
        return kept
