"""Which events a live record removes when it has more rows than it may keep. Pure."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import numpy as np

from varco_nats_widgets.record._rows import Row
from varco_nats_widgets.record._table import Table

_KEPT = 0.9  # of the limit: what is removed makes room for a while


class Dropped(NamedTuple):
    """What was removed from a record: the oldest events, with all their rows."""

    events: int = 0
    rows: int = 0

    def __str__(self) -> str:
        return f"the oldest {self.events:,} events ({self.rows:,} rows) were removed"


class Eviction(NamedTuple):
    """A record's rows without those of its oldest events.

    Attributes:
        kept: the rows that stay.
        dropped: how much is removed.
        keys: the ids of the removed events, and the sequences of their messages.
    """

    kept: list[Row]
    dropped: Dropped
    keys: list[str | int]


def evict(rows: list[Row], max_rows: int) -> Eviction:
    """Remove the oldest events, by their first publishing, until 90% of `max_rows` are left."""
    table = Table(rows)
    of_event = table.events >= 0
    sizes = np.cumsum(np.bincount(table.events[of_event]))
    excess = len(rows) - int(max_rows * _KEPT)
    removed = min(int(np.searchsorted(sizes, excess)) + 1, len(sizes))
    leaving = of_event & (table.events < removed)
    oldest = table.times[of_event & ~leaving].min(initial=np.inf)
    leaving |= ~of_event & (table.times < oldest)  # faults from before the events that stay
    seqs = np.unique(table.seqs[leaving & (table.seqs >= 0)]).tolist()
    kept = [rows[index] for index in np.sort(table.order[~leaving]).tolist()]
    dropped = Dropped(removed, int(leaving.sum()))
    return Eviction(kept, dropped, [*table.event_ids[:removed].tolist(), *seqs])


class Evicted:
    """The events that a record has removed, so that later rows of them are left out too.

    Attributes:
        total: how many events and rows were removed or left out so far.
    """

    def __init__(self) -> None:
        self.total = Dropped()
        self._keys: dict[str | int | None, None] = {}

    def add(self, eviction: Eviction, max_keys: int) -> None:
        """Add the events of `eviction`; only the newest `max_keys` keys are remembered."""
        self._keys |= dict.fromkeys(eviction.keys)
        for key in list(islice(self._keys, max(0, len(self._keys) - max_keys))):
            del self._keys[key]
        sums = (sum(both) for both in zip(self.total, eviction.dropped, strict=True))
        self.total = Dropped(*sums)

    def without(self, rows: list[Row]) -> list[Row]:
        """The `rows` that are not of removed events; the others are counted."""
        if not self._keys:
            return rows
        kept = [row for row in rows if (row.event_id or row.seq) not in self._keys]
        self.total = self.total._replace(rows=self.total.rows + len(rows) - len(kept))
        return kept
