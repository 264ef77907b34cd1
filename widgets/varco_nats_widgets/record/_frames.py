"""The DataFrames of a record: the frame, the ledger, the flow, copies and latencies. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from varco_nats_widgets.frames._columns import strings
from varco_nats_widgets.record._rows import KINDS
from varco_nats_widgets.record._table import Table, utc

_COUNTED = ("acked", "naked", "terminated", "expired", "dead_lettered", "replayed")


def frame(table: Table) -> pd.DataFrame:
    """See `DeliveryRecord.frame`."""
    published = table.published()
    ids = [*table.event_ids, None]  # the last is for rows that belong to no event
    columns = {
        "time": utc(table.times),
        "kind": strings([KINDS[code] for code in table.kinds.tolist()]),
        "process": strings(table.processes),
        "channel": strings(table.channels),
        "event": np.where(table.events < 0, 0, table.events + table.start),
        "event_id": strings([ids[code] for code in table.events.tolist()]),
        "event_type": strings(table.types),
        "seq": _integers(table.seqs, table.seqs < 0),
        "delivery": table.deliveries,
        "since_published": table.times - np.append(published, np.nan)[table.events],
        "error": strings(table.errors),
    }
    return pd.DataFrame(columns, index=pd.RangeIndex(len(table), name="n"), copy=False)


def _deliveries(table: Table, *, sees_handlers: bool) -> tuple[Any, dict[str, Any]]:
    """The event that each delivery was of, and what became of it as columns of the ledger.

    The rows of one message, process and delivery count once. Just one of `handled`, `skipped`,
    `failed`, `unseen` and `unfinished` is true.
    """
    at_consumer = table.deliveries > 0
    rows = np.flatnonzero(
        at_consumer & table.is_kind("delivered", "handled", "failed", "deduplicated")
    )
    seqs, events = table.seqs[rows], table.events[rows]
    deliveries = table.deliveries[rows]
    messages = np.where(seqs >= 0, seqs, seqs.max(initial=0) + 1 + events)
    processes, names = pd.factorize(np.array(table.processes, dtype=object)[rows])
    base = deliveries.max(initial=0) + 1
    keys = (messages * max(len(names), 1) + processes) * base + deliveries
    settled = np.zeros(len(rows), dtype=bool)
    if not sees_handlers:
        ends = table.is_kind("acked", "naked", "terminated", "dead_lettered")
        known = table.seqs[ends] * base + table.deliveries[ends]
        settled = np.isin(seqs * base + deliveries, known)
    _, first, key = np.unique(keys, return_index=True, return_inverse=True)

    def has(kind: str) -> Any:
        return np.bincount(key, weights=table.is_kind(kind)[rows], minlength=len(first)) > 0

    handled = has("handled")
    skipped = ~handled & has("deduplicated")
    failed = ~handled & ~skipped & has("failed")
    ended = handled | skipped | failed
    unseen = ~ended & settled[first]
    return events[first], {
        "delivered": np.ones(len(first), dtype=bool),
        "redelivered": deliveries[first] > 1,
        "handled": handled,
        "skipped": skipped,
        "failed": failed,
        "unseen": unseen,
        "unfinished": ~(ended | unseen),
    }


def ledger(table: Table, *, done: bool, sees_handlers: bool) -> pd.DataFrame:
    """See `DeliveryRecord.ledger`."""
    size = len(table.event_ids)
    events, deliveries = _deliveries(table, sees_handlers=sees_handlers)
    stored = _distinct(table, table.is_kind("stored"))
    dropped = table.count(table.is_kind("deduplicated") & (table.deliveries == 0))
    columns: dict[str, Any] = {
        "event": np.arange(size) + table.start,
        "event_type": table.text_of(table.types),
        "channel": table.text_of(table.channels),
        # a copy that is in the stream was published, even if nobody saw that
        "published": np.maximum(table.count(table.is_kind("published")), stored + dropped),
        "stored": stored,
        "deduplicated": dropped,
        **{name: np.bincount(events[which], minlength=size) for name, which in deliveries.items()},
    }
    columns |= {kind: table.count(table.is_kind(kind)) for kind in _COUNTED}
    if sees_handlers:  # otherwise the acks are known from the server, which has got them
        columns["ack_lost"] = table.count(table.lost_acks())
        columns["acked"] -= columns["ack_lost"]
    else:
        columns["ack_lost"] = np.zeros(size, dtype=np.int64)
    lost = table.count(table.is_kind("lost")) > 0
    columns["outcome"] = strings(_outcomes(columns, lost, done, sees_handlers))
    columns["first_published"] = utc(table.published())
    columns["last_seen"] = utc(table.last())
    index = pd.Index(strings(list(table.event_ids)), name="event_id")
    return pd.DataFrame(columns, index=index, copy=False)


def _distinct(table: Table, which: Any) -> Any:
    """How many different stream sequences each event has among the rows in the mask."""
    pairs = np.unique(np.stack([table.events[which], table.seqs[which]]), axis=1)
    return np.bincount(pairs[0], minlength=len(table.event_ids))


def _outcomes(counts: dict[str, Any], lost: Any, done: bool, sees_handlers: bool) -> list[str]:
    handled = counts["handled"]
    acked = counts["acked"] > 0
    if sees_handlers:  # acknowledged before the handler, which then did not succeed
        gone = acked & (counts["skipped"] == 0) & (done | (counts["failed"] > 0))
    else:
        gone = np.zeros(len(handled), dtype=bool)
    never_stored = (counts["stored"] == 0) & (counts["delivered"] == 0) & done
    outcomes: list[str] = np.select(
        [
            handled == 1,
            handled > 1,
            counts["dead_lettered"] > counts["replayed"],
            counts["terminated"] > 0,
            lost | gone | never_stored,
            acked,
        ],
        ["handled once", "again", "dead-lettered", "discarded", "lost", "acknowledged"],
        "pending",
    ).tolist()
    for event in np.flatnonzero(handled > 1).tolist():
        outcomes[event] = f"handled {handled[event]} times"
    if sees_handlers:
        return ["pending" if outcome == "acknowledged" else outcome for outcome in outcomes]
    return outcomes


@dataclass(frozen=True, slots=True)
class Flow:
    """How many copies, deliveries and events there were at each stage. These sums hold:

    `published = stored + deduplicated + unacknowledged`
    `delivered = handled + skipped + failed + unseen + unfinished`, `redelivered` among them
    `events = (handled - handled_again) + dead_lettered + discarded + lost + acknowledged + pending`
    """

    events: int = 0
    """Different events."""
    published: int = 0
    """Copies sent to the stream."""
    stored: int = 0
    """Copies that the stream took."""
    deduplicated: int = 0
    """Copies that the stream dropped because it knew their message id."""
    unacknowledged: int = 0
    """Copies that got no PubAck and are not in the stream, as far as is known."""
    delivered: int = 0
    """Deliveries to a consumer, including redeliveries."""
    redelivered: int = 0
    """Deliveries after the first of a stored copy."""
    handled: int = 0
    """Deliveries whose handlers succeeded."""
    handled_again: int = 0
    """Those among `handled` whose event had been handled before."""
    skipped: int = 0
    """Deliveries that the consumer's own deduplicator skipped."""
    failed: int = 0
    """Deliveries whose handlers raised, after all retries."""
    unseen: int = 0
    """Deliveries that were settled by a service whose handlers cannot be observed."""
    unfinished: int = 0
    """Deliveries whose handlers did not end: their process died, or they still run."""
    dead_lettered: int = 0
    """Events whose outcome is a dead letter."""
    discarded: int = 0
    """Events that were given up without a dead letter."""
    lost: int = 0
    """Events that were not handled and never will be, without an error or a dead letter."""
    acknowledged: int = 0
    """Events that were acknowledged by a service whose handlers cannot be observed."""
    pending: int = 0
    """Events that are still on their way."""

    @property
    def frame(self) -> pd.DataFrame:
        """The same as a frame: index `part`, column `count`."""
        names = [field.name for field in fields(self)]
        index = pd.Index(strings(names), name="part")
        return pd.DataFrame({"count": [getattr(self, name) for name in names]}, index=index)


def flow(entries: pd.DataFrame) -> Flow:
    """The flow that the entries of a ledger add up to."""
    sums = {
        field.name: int(entries[field.name].sum())
        for field in fields(Flow)
        if field.name in entries
    }
    found = entries["outcome"].value_counts()
    outcomes = {
        name: int(found.get(name.replace("_", "-"), 0))
        for name in ("dead_lettered", "discarded", "lost", "acknowledged", "pending")
    }
    return Flow(
        events=len(entries),
        unacknowledged=sums["published"] - sums["stored"] - sums["deduplicated"],
        handled_again=sums["handled"] - int((entries["handled"] > 0).sum()),
        **sums | outcomes,
    )


def copies(table: Table, duplicate_window: float | None) -> pd.DataFrame:
    """See `DeliveryRecord.copies`."""
    at_stream = table.is_kind("stored", "deduplicated") & (table.deliveries == 0)
    rows = np.flatnonzero(table.is_kind("published") | at_stream)
    rows = rows[np.argsort(table.events[rows], kind="stable")]
    found = _matched(table, rows.tolist(), table.is_kind("published"), table.is_kind("stored"))
    events = np.array([copy.event for copy in found], dtype=np.int64)
    times = np.array([copy.published for copy in found], dtype=np.float64)
    seqs = np.array([copy.seq for copy in found], dtype=np.int64)
    window = np.nan if duplicate_window is None else duplicate_window
    opened = np.array([copy.window_from for copy in found], dtype=np.float64)
    before = np.array([copy.window_before for copy in found], dtype=np.float64)
    arrived = np.array([copy.arrived for copy in found], dtype=np.float64)
    return pd.DataFrame(
        {
            "event_id": strings(list(table.event_ids[events])),
            "event": events + table.start,
            "copy": [copy.number for copy in found],
            "published_at": utc(times),
            "arrived_at": utc(arrived),
            "seq": _integers(seqs, seqs < 0),
            "dropped": np.array([copy.dropped for copy in found], dtype=bool),
            "window_ends_at": utc(opened + window),
            "inside_window": arrived < before + window,
        }
    )


@dataclass(slots=True)
class _Copy:
    event: int
    number: int
    published: float = np.nan
    arrived: float = np.nan
    seq: int = -1
    dropped: bool = False
    window_from: float = np.nan
    """When the copy was stored that opened the duplicate window after this copy."""
    window_before: float = np.nan
    """The same for the window that was open when this copy came."""


def _matched(table: Table, rows: list[int], is_published: Any, is_stored: Any) -> list[_Copy]:
    """The copies of each event, each with what the stream did with it."""
    found: list[_Copy] = []
    waiting: list[_Copy] = []  # published, and not at the stream yet
    opened: dict[str | None, float] = {}  # when each message id's window began
    event, number = -1, 0
    for row in rows:
        if table.events[row] != event:
            event, number, opened, waiting = int(table.events[row]), 0, {}, []
        time = float(table.times[row])
        if is_published[row]:
            number += 1
            waiting.append(_Copy(event, number, time))
            found.append(waiting[-1])
            continue
        if waiting:
            copy = waiting.pop()  # the newest: earlier ones got lost and were sent again
        else:
            number += 1
            copy = _Copy(event, number)
            found.append(copy)
        copy.arrived, copy.seq, copy.dropped = time, int(table.seqs[row]), not is_stored[row]
        if (name := table.message_ids[row]) == "":
            continue
        copy.window_before = opened.get(name, np.nan)
        if not copy.dropped:
            opened[name] = time
        copy.window_from = opened.get(name, np.nan)
    return found


def latency(table: Table, sees_handlers: bool) -> pd.DataFrame:
    """See `DeliveryRecord.latency`."""
    published = table.published()
    sent = table.first(table.is_kind("published"))
    stored = table.first(table.is_kind("stored"))
    acked = table.is_kind("acked")
    if sees_handlers:
        acked &= ~table.lost_acks()
    rows = np.flatnonzero(~np.isnan(stored))
    index = pd.Index(strings(list(table.event_ids[rows])), name="event_id")
    columns = {
        "event": rows + table.start,
        "stored_at": utc(stored[rows]),
        "publish_to_stored": (stored - sent)[rows],
        "publish_to_delivered": (table.first(table.is_kind("delivered")) - published)[rows],
        "publish_to_acked": (table.first(acked) - published)[rows],
    }
    return pd.DataFrame(columns, index=index, copy=False)


def _integers(values: Any, missing: Any) -> Any:
    """An array of integers, some of which may be missing."""
    return pd.arrays.IntegerArray(np.where(missing, 0, values), missing)
