"""The rows of a record as arrays, in order of time, with the event that each belongs to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from varco_nats_widgets.frames._columns import strings
from varco_nats_widgets.record._rows import FAULT, KINDS, Row

_CODES = {kind: code for code, kind in enumerate(KINDS)}


class Table:
    """Rows by column, sorted by time; rows of the same moment stay in the order they came in.

    Attributes:
        order: the index of each row among those given.
        times: seconds since the epoch.
        kinds: indexes into `KINDS`.
        events: the event that each row belongs to, from 0 in order of first publishing; -1 if none.
        event_ids: the id of each event; `seq 17` for a message whose event's id is not known.
        seqs: stream sequences, -1 where there is none.
        deliveries: which delivery, 0 for publishing.
        start: the number of the first event.
    """

    def __init__(self, rows: Sequence[Row], start: int = 1) -> None:
        self.start = start
        times = np.fromiter((row[0] for row in rows), dtype=np.float64, count=len(rows))
        self.order: Any = (order := order_of(times))
        self.times: Any = times[order]
        rows = [rows[index] for index in order.tolist()]
        columns: tuple[Any, ...] = tuple(zip(*rows, strict=True)) if rows else ((),) * 10
        _, kinds, self.processes, self.channels, ids, self.types, seqs, deliveries = columns[:8]
        self.errors, self.message_ids = columns[8:]
        size = len(rows)
        self.kinds: Any = np.fromiter((_CODES[kind] for kind in kinds), np.int64, size)
        self.seqs: Any = np.fromiter((-1 if seq is None else seq for seq in seqs), np.int64, size)
        self.deliveries: Any = np.fromiter(deliveries, np.int64, size)
        named = _named(kinds, ids, self.channels, seqs)
        codes, found = pd.factorize(np.array(named, dtype=object))  # -1 for None
        rank = self._ranks(codes, len(found))
        self.events: Any = np.append(rank, -1)[codes]
        self.event_ids: Any = np.empty(len(found), dtype=object)
        self.event_ids[rank] = found

    def __len__(self) -> int:
        return len(self.times)

    def is_kind(self, *kinds: str) -> Any:
        """Which rows are of one of these kinds."""
        return np.isin(self.kinds, [_CODES[kind] for kind in kinds])

    def lost_acks(self) -> Any:
        """Which rows are acks without effect: their message was delivered again afterwards."""
        which = self.is_kind("acked"), self.is_kind("delivered")
        return lost_acks(*which, self.seqs, self.deliveries)

    def count(self, which: Any) -> Any:
        """How many of the rows in the mask each event has."""
        return np.bincount(self.events[which], minlength=len(self.event_ids))

    def first(self, which: Any) -> Any:
        """The time of each event's first row in the mask; NaN if it has none there."""
        found = np.full(len(self.event_ids), np.nan)
        np.fmin.at(found, self.events[which], self.times[which])
        return found

    def last(self) -> Any:
        """The time of each event's last row."""
        found = np.full(len(self.event_ids), np.nan)
        some = self.events >= 0
        np.fmax.at(found, self.events[some], self.times[some])
        return found

    def text_of(self, values: Sequence[str | None]) -> Any:
        """The first text of each event in a column of these values."""
        found: list[str | None] = [None] * len(self.event_ids)
        for event, value in zip(self.events.tolist(), values, strict=True):
            if event >= 0 and found[event] is None:
                found[event] = value
        return strings(found)

    def published(self) -> Any:
        """When each event was first published, or stored if nobody saw it published."""
        sent = self.first(self.is_kind("published"))
        return np.where(np.isnan(sent), self.first(self.is_kind("stored")), sent)

    def _ranks(self, codes: Any, events: int) -> Any:
        """The rank of each event by its first publishing, or by its first row if it has none."""
        seen, published = np.full(events, np.inf), np.full(events, np.inf)
        some = codes >= 0
        np.minimum.at(seen, codes[some], self.times[some])
        sent = self.is_kind("published")
        np.minimum.at(published, codes[sent], self.times[sent])
        order = np.argsort(np.where(np.isinf(published), seen, published), kind="stable")
        ranks = np.empty(events, dtype=np.int64)
        ranks[order] = np.arange(events)
        return ranks


def order_of(times: Any) -> Any:
    """The indexes that sort by time, to the microsecond as it is shown; ties stay in order."""
    return np.argsort(np.round(times * 1e6), kind="stable")


def lost_acks(acked: Any, delivered: Any, seqs: Any, deliveries: Any) -> Any:
    """Which of the acks had no effect: their message was delivered again afterwards.

    Args:
        acked, delivered: which rows are acks, and which are deliveries; in order of time.
    """
    if not (deliveries[delivered] > 1).any():
        return np.zeros(len(seqs), dtype=bool)
    messages, codes = np.unique(seqs, return_inverse=True)
    last = np.full(len(messages), -1)  # the row of each message's last delivery
    np.maximum.at(last, codes[delivered], np.flatnonzero(delivered))
    later = last[codes]
    return acked & (seqs >= 0) & (np.arange(len(seqs)) < later) & (deliveries < deliveries[later])


def _named(
    kinds: Sequence[str],
    ids: Sequence[str | None],
    channels: Sequence[str],
    seqs: Sequence[int | None],
) -> list[str | None]:
    """The event id of every row; a row without one gets that of its message's other rows.

    A row that belongs to no message has None.
    """
    if None not in ids:
        return list(ids)
    known = {
        (channel, seq): name
        for name, channel, seq in zip(ids, channels, seqs, strict=True)
        if name is not None and seq is not None
    }
    return [
        None
        if kind == FAULT
        else name
        or known.get((channel, seq))  # type: ignore[arg-type]  # None is in no key
        or (f"seq {seq}" if seq is not None else "unknown")
        for kind, name, channel, seq in zip(kinds, ids, channels, seqs, strict=True)
    ]


def utc(times: Any) -> Any:
    """Seconds since the epoch as UTC times to the microsecond, NaN as missing."""
    missing = np.isnan(times)
    whole = np.round(np.where(missing, 0.0, times) * 1e6).astype(np.int64)
    whole[missing] = np.iinfo(np.int64).min  # how NaT is kept
    return pd.DatetimeIndex(whole.view("datetime64[us]"), tz="UTC")
