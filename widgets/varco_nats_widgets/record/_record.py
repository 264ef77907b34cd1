"""`DeliveryRecord`: everything that happened to every message, as DataFrames.

Its frames distinguish what is easily confused: copies that the stream dropped from deliveries that
a consumer's deduplicator skipped; deliveries that failed from those that never ended; and events
that are lost from those that were discarded (given up without a dead letter) or acknowledged (by a
service whose handlers cannot be observed).
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from varco_nats_widgets.frames._cells import escape
from varco_nats_widgets.record import _frames
from varco_nats_widgets.record._eviction import Dropped, Evicted, evict
from varco_nats_widgets.record._frames import Flow
from varco_nats_widgets.record._rows import KINDS, Row
from varco_nats_widgets.record._table import Table

_logger = logging.getLogger("varco_nats")


class Surprise(NamedTuple):
    """An event whose outcome is not the one that was promised."""

    event: int
    """Its number, from 1."""
    expected: str
    happened: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcomes that were expected, and those that happened."""

    expected: Mapping[str, int]
    """Events by outcome, as the documented semantics promise."""
    happened: Mapping[str, int]
    """Events by outcome, as measured."""
    text: str
    """The same in sentences."""
    surprises: tuple[Surprise, ...] = ()
    """The events whose outcome is not the expected one."""

    @property
    def holds(self) -> bool:
        """Whether every event had the outcome that was promised."""
        return not self.surprises


class DeliveryRecord:
    """What happened to every message. Thread-safe; it grows while it is live.

    A frame is made when it is asked for, of all rows at that moment. The same object is returned
    until more rows come, so copy a frame before you change it.

    Args:
        rows: what has happened already.
        title: what it is a record of.
        duplicate_window: of the stream, in seconds; None if it is not known. Only `exactly_once`
            sends the message ids that it applies to.
        ack_wait: of the consumer, in seconds; None if it is not known.
        semantics: the delivery semantics, such as `at_least_once`; None if it is not known.
        sees_handlers: True if `handled` and `failed` are reported, as by a bus; False if only the
            server is watched, which knows acknowledgements but not handlers.

    Raises:
        ValueError: a row of an unknown kind.
    """

    def __init__(
        self,
        rows: Iterable[Row] = (),
        *,
        title: str = "",
        duplicate_window: float | None = None,
        ack_wait: float | None = None,
        semantics: str | None = None,
        sees_handlers: bool = True,
    ) -> None:
        self.title = title
        self.duplicate_window = duplicate_window
        self.ack_wait = ack_wait
        self.semantics = semantics
        self.sees_handlers = sees_handlers
        self.verdict: Verdict | None = None
        """What was expected and what happened, for an experiment that is over."""
        self._problem: str | None = None
        self._remarks: dict[str, str] = {}
        self._lock = threading.RLock()  # guards what follows; nothing slow is done while it is held
        self._making = threading.Lock()  # one frame at a time is made
        self._rows: list[Row] = []
        self._evicted = Evicted()
        self._shortening = False
        self._version = 0
        self._done = False
        self._callbacks: list[Callable[[], object]] = []
        self._frames: dict[str, pd.DataFrame] = {}
        self._table: Table | None = None
        self._stops: list[Callable[[], object]] = []
        self.add(rows)

    def __len__(self) -> int:
        """How many rows."""
        return len(self._rows)

    def __repr__(self) -> str:
        title = f"{self.title!r}, " if self.title else ""
        return f"DeliveryRecord({title}{self.flow.events:,} events{'' if self.done else ', live'})"

    def _repr_html_(self) -> str:
        outcomes = Counter(self.ledger["outcome"].tolist())
        lines = [self.title, self.verdict.text if self.verdict else ""]
        shown = "".join(f"<p>{escape(line)}</p>" for line in [*lines, *self.remarks] if line)
        cells = "".join(
            f"<tr><th>{escape(outcome)}</th><td>{count:,}</td></tr>"
            for outcome, count in sorted(outcomes.items())
        )
        return f"{shown}<table><tr><th>outcome</th><th>events</th></tr>{cells}</table>"

    # Growing

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows, from any thread; they need not come in order of time.

        Raises:
            ValueError: a row of an unknown kind; none was added.
            RuntimeError: the record is done.
        """
        self._add(list(rows), None)

    def add_bounded(self, rows: Iterable[Row], most: int) -> None:
        """`add`, and remove the oldest events if there are more than `most` rows then.

        They are removed with all their rows, a little later and several at a time; a row of theirs
        that comes later is left out too. `dropped` counts them.
        """
        self._add(list(rows), most)

    def _add(self, rows: list[Row], max_rows: int | None) -> None:
        for row in rows:
            if row.kind not in KINDS:
                raise ValueError(f"kind={row.kind!r}: must be one of {', '.join(KINDS)}")
        if not rows:
            return
        with self._lock:
            if self._done:
                raise RuntimeError("this record is done; no more rows can be added")
            self._rows += self._evicted.without(rows)
            if max_rows is not None and len(self._rows) > max_rows and not self._shortening:
                self._shortening = True  # on a thread of its own: the caller must not wait for it
                threading.Thread(target=self._shorten, args=[max_rows], daemon=True).start()
        self._changed()

    def _shorten(self, max_rows: int) -> None:
        while rows := self._too_many(max_rows):
            eviction = evict(rows, max_rows)
            with self._lock:
                self._evicted.add(eviction, max_rows)
                self._rows = eviction.kept + self._evicted.without(self._rows[len(rows) :])
            self._changed()
            text = f"{self.dropped}, as this record keeps {max_rows:,} rows (max_rows)"
            self.remark("dropped", text)

    def _too_many(self, max_rows: int) -> list[Row]:
        """All rows, if they are more than `max_rows`; else none."""
        with self._lock:
            self._shortening = len(self._rows) > max_rows
            return list(self._rows) if self._shortening else []

    def finish(self) -> None:
        """Declare that no more rows will come; a second call does nothing."""
        with self._lock:
            if self._done:
                return
            self._done = True
        self._changed()

    @property
    def dropped(self) -> Dropped:
        """The events and rows that were removed because the record may keep only so many."""
        return self._evicted.total

    def remark(self, about: str, text: str) -> None:
        """Set the remark `about` something to `text`, or remove it with ""; see `remarks`."""
        if self._remarks.get(about, "") != text:
            self._remarks[about] = text
            self._notify()

    @property
    def remarks(self) -> list[str]:
        """What the record leaves out, in words."""
        return [text for text in self._remarks.values() if text]

    @property
    def problem(self) -> str | None:
        """Why a live record gets no rows at the moment; None if it does."""
        return self._problem

    @problem.setter
    def problem(self, problem: str | None) -> None:
        if problem != self._problem:
            self._problem = problem
            self._notify()

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Have `stop()` call `callback`, which is to end what adds rows to this record."""
        self._stops.append(callback)

    def stop(self) -> None:
        """Add no more rows to a live record; those it has stay. Stopping twice does nothing."""
        stops, self._stops = self._stops, []
        for stop in stops:
            stop()
        self.finish()

    @property
    def done(self) -> bool:
        """Whether no more rows will come."""
        return self._done

    def on_change(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` when rows were added or the record is done; returns what ends this.

        It is called on the thread that made the change and must be quick. An exception that it
        raises is logged.
        """
        with self._lock:
            self._callbacks.append(callback)

        def cancel() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return cancel

    def _changed(self) -> None:
        with self._lock:
            self._version += 1
            self._frames.clear()
            self._table = None
        self._notify()

    def _notify(self) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _logger.exception("a callback of %s failed", type(self).__name__)

    # Looking

    def rows(self, start: int = 0) -> list[Row]:
        """The rows from index `start` on, in the order in which they were added."""
        with self._lock:
            return self._rows[start:]

    def rows_after(self, known: int, first: int) -> tuple[list[Row], int]:
        """The rows after the first `known`, and the number of the first event.

        If that number is not `first`, rows were removed meanwhile, and all that are left are given.
        """
        with self._lock:
            return self._rows[known if first == self._first else 0 :], self._first

    @property
    def _first(self) -> int:
        return 1 + self.dropped.events

    @property
    def frame(self) -> pd.DataFrame:
        """All rows in order of time.

        Index `n`, from 0; columns `time` (UTC), `kind`, `process`, `channel`, `event` (the
        event's number in order of first publishing, from 1; 0 for a `fault`), `event_id`,
        `event_type`, `seq`, `delivery`, `since_published` (seconds since the event was first
        published, or stored if nobody saw it published), `error`.
        """
        return self._make("frame", _frames.frame)

    @property
    def ledger(self) -> pd.DataFrame:
        """One row for each event; copies of one event are the same event.

        Index `event_id` in order of first publishing; columns `event` (its number), `event_type`,
        `channel`; counts of copies: `published`, `stored`, `deduplicated`; counts of deliveries:
        `delivered`, `redelivered` (those after the first), and by how they ended `handled`,
        `skipped` (by a consumer's deduplicator), `failed`, `unseen` (settled by a service whose
        handlers cannot be observed) and `unfinished`; `acked`, `naked`, `terminated`, `expired`,
        `dead_lettered`, `replayed`; `ack_lost` (acks without effect, as the message was delivered
        again); `outcome`, which is `handled once`, `handled 2 times` and so on, `dead-lettered`,
        `discarded`, `lost`, `acknowledged` or `pending`; `first_published` (or stored, if nobody
        saw it published), `last_seen` (UTC).

        A bus does not notice what a `@listen(deduplicator=)` skips: that counts as handled.
        """
        return self._make("ledger", self._make_ledger)

    def _make_ledger(self, table: Table) -> pd.DataFrame:
        return _frames.ledger(table, done=self._done, sees_handlers=self.sees_handlers)

    @property
    def flow(self) -> Flow:
        """How many copies, deliveries and events there were at each stage, in sums that add up."""
        return _frames.flow(self.ledger)

    @property
    def copies(self) -> pd.DataFrame:
        """One row for each copy that was published, by event.

        Columns `event_id`, `event`, `copy` (from 1), `published_at` (missing if nobody saw that),
        `arrived_at` (when the stream stored it or answered that it was dropped; missing if neither
        is known), `seq` (for a dropped copy, that of the first one), `dropped`, `window_ends_at`
        (the end of the duplicate window that the last stored copy opened, as a dropped one does
        not extend it; missing if no message id was sent), `inside_window` (whether it came in the
        window of an earlier copy with its message id).
        """
        sends_ids = self.semantics in (None, "exactly_once")
        window = self.duplicate_window if sends_ids else None
        return self._make("copies", lambda table: _frames.copies(table, window))

    @property
    def latency(self) -> pd.DataFrame:
        """One row for each stored event: how long it took, in seconds.

        Index `event_id`; columns `event`, `stored_at` (UTC), and the seconds from its first
        publishing to the first time that it was stored, delivered and acknowledged (acks without
        effect do not count): `publish_to_stored`, `publish_to_delivered`, `publish_to_acked`. If
        nobody saw it published, the first of them is missing, and the others are seconds from its
        storing. A value below 0 means that the clocks of two machines differ.
        """
        return self._make("latency", lambda table: _frames.latency(table, self.sees_handlers))

    def rows_of(self, event: str | int) -> pd.DataFrame:
        """The rows of `frame` about one event, by its id or its number.

        Raises:
            LookupError: the record has no such event.
        """
        frame = self.frame
        found = frame[frame["event" if isinstance(event, int) else "event_id"] == event]
        if found.empty:
            count = len(self.ledger)
            raise LookupError(f"no event {event!r} in this record, which has {count:,} events")
        return found

    def _make(self, name: str, make: Callable[[Table], pd.DataFrame]) -> pd.DataFrame:
        with self._making:
            with self._lock:
                if (frame := self._frames.get(name)) is not None:
                    return frame
                version, table = self._version, self._table
                rows = self._rows if table is None else []
                rows, start = list(rows), self._first
            # without the lock, so that rows can be added meanwhile
            table = table or Table(rows, start)
            frame = make(table)
            with self._lock:
                if self._version == version:
                    self._table, self._frames[name] = table, frame
            return frame
