"""The rows of a record as arrays, in order of time, with the event that each belongs to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from varco_nats_widgets._columns import strings
from varco_nats_widgets._record_rows import KINDS, Row

_CODES = {kind: code for code, kind in enumerate(KINDS)}


class Table:
    """Rows by column, sorted by time; rows of one moment stay in the order they came in.

    Attributes:
        times: seconds since the epoch.
        kinds: positions in `KINDS`.
        events: which event each row belongs to, from 0 in order of first publishing.
        event_ids: the id of each event; `seq 17` for a message whose id is not known.
        seqs: stream sequences, -1 where there is none.
        deliveries: which delivery, 0 for publishing.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        times = np.fromiter((row[0] for row in rows), dtype=np.float64, count=len(rows))
        order = np.argsort(times, kind="stable")
        self.times: Any = times[order]
        rows = [rows[place] for place in order.tolist()]
        columns: tuple[Any, ...] = tuple(zip(*rows, strict=True)) if rows else ((),) * 9
        _, kinds, self.processes, self.channels, ids, self.types, seqs, deliveries, self.errors = (
            columns
        )
        size = len(rows)
        self.kinds: Any = np.fromiter((_CODES[kind] for kind in kinds), np.int64, size)
        self.seqs: Any = np.fromiter((-1 if seq is None else seq for seq in seqs), np.int64, size)
        self.deliveries: Any = np.fromiter(deliveries, np.int64, size)
        named = _named(ids, self.channels, seqs)
        codes, found = pd.factorize(np.array(named, dtype=object))
        rank = self._ranks(codes, len(found))
        self.events: Any = rank[codes]
        self.event_ids: Any = np.empty(len(found), dtype=object)
        self.event_ids[rank] = found

    def __len__(self) -> int:
        return len(self.times)

    def is_kind(self, *kinds: str) -> Any:
        """Which rows are of one of these kinds."""
        return np.isin(self.kinds, [_CODES[kind] for kind in kinds])

    def count(self, which: Any) -> Any:
        """How many of the rows in the mask each event has."""
        return np.bincount(self.events[which], minlength=len(self.event_ids))

    def first(self, which: Any) -> Any:
        """The time of each event's first row in the mask, NaN without one."""
        found = np.full(len(self.event_ids), np.nan)
        np.fmin.at(found, self.events[which], self.times[which])
        return found

    def last(self) -> Any:
        """The time of each event's last row."""
        found = np.full(len(self.event_ids), np.nan)
        np.fmax.at(found, self.events, self.times)
        return found

    def text_of(self, values: Sequence[str | None]) -> Any:
        """The first text that each event has in a column."""
        found: list[str | None] = [None] * len(self.event_ids)
        for event, value in zip(self.events.tolist(), values, strict=True):
            if found[event] is None:
                found[event] = value
        return strings(found)

    def published(self) -> Any:
        """When each event was first published, or stored where nobody saw that."""
        sent = self.first(self.is_kind("published"))
        return np.where(np.isnan(sent), self.first(self.is_kind("stored")), sent)

    def _ranks(self, codes: Any, events: int) -> Any:
        """The place of each event in the order of first publishing, else of first being seen."""
        seen, published = np.full(events, np.inf), np.full(events, np.inf)
        np.minimum.at(seen, codes, self.times)
        sent = self.is_kind("published")
        np.minimum.at(published, codes[sent], self.times[sent])
        order = np.argsort(np.where(np.isinf(published), seen, published), kind="stable")
        ranks = np.empty(events, dtype=np.int64)
        ranks[order] = np.arange(events)
        return ranks


def _named(
    ids: Sequence[str | None], channels: Sequence[str], seqs: Sequence[int | None]
) -> list[str]:
    """The id of every row; a row without one has that of its message's other rows."""
    if None not in ids:
        return list(ids)  # type: ignore[arg-type]  # just checked
    known = {
        (channel, seq): name
        for name, channel, seq in zip(ids, channels, seqs, strict=True)
        if name is not None and seq is not None
    }
    return [
        name
        or known.get((channel, seq))  # type: ignore[arg-type]  # None is in no key
        or (f"seq {seq}" if seq is not None else "unknown")
        for name, channel, seq in zip(ids, channels, seqs, strict=True)
    ]


def utc(times: Any) -> Any:
    """Seconds since the epoch as UTC times to the microsecond, NaN as missing."""
    missing = np.isnan(times)
    whole = np.round(np.where(missing, 0.0, times) * 1e6).astype(np.int64)
    whole[missing] = np.iinfo(np.int64).min  # how NaT is kept
    return pd.DatetimeIndex(whole.view("datetime64[us]"), tz="UTC")
