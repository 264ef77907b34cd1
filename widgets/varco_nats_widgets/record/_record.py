"""`DeliveryRecord`: everything that happened to every message, as DataFrames.

Beyond the kinds of `Row` its frames tell apart what is easily taken for the same: copies that the
stream dropped and deliveries that a consumer's deduplicator skipped; deliveries that failed and
those that never ended; events that are lost, discarded (given up, without a dead letter) and
acknowledged (by a service whose handlers cannot be seen).
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable

import pandas as pd

from varco_nats_widgets.frames._cells import escape
from varco_nats_widgets.record import _frames
from varco_nats_widgets.record._fallen import Dropped, Fallen, cut
from varco_nats_widgets.record._frames import Flow
from varco_nats_widgets.record._rows import KINDS, Row
from varco_nats_widgets.record._table import Table
from varco_nats_widgets.record._verdict import Verdict

__all__ = ["KINDS", "DeliveryRecord", "Dropped", "Flow", "Row", "Verdict"]

_logger = logging.getLogger("varco_nats")


class DeliveryRecord:
    """What happened to every message. Thread-safe; it grows while it is live.

    Its frames are made when asked for, of all rows there are then; the same object is returned
    until more came, so copy one before changing it.

    Args:
        rows: what has happened already.
        title: what it is a record of.
        duplicate_window: of the stream, in seconds; None where it is not known. Of the semantics
            only `exactly_once` sends the ids that it is for.
        ack_wait: of the consumer, in seconds; None likewise.
        semantics: the delivery semantics, such as `at_least_once`; None likewise.
        sees_handlers: whether `handled` and `failed` are told, as by a bus; False where only the
            server can be watched, which knows acknowledgements.

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
        self._fallen = Fallen()
        self._shortening = False
        self._version = 0
        self._done = False
        self._callbacks: list[Callable[[], object]] = []
        self._made: dict[str, pd.DataFrame] = {}
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
        """`add`, and let the oldest events fall out when there are more than `most` rows.

        They fall out with all their rows, some at a time and soon; a row of them that comes later
        is left out too. `dropped` counts them.
        """
        self._add(list(rows), most)

    def _add(self, rows: list[Row], most: int | None) -> None:
        for row in rows:
            if row.kind not in KINDS:
                raise ValueError(f"kind {row.kind!r} is none of {', '.join(KINDS)}")
        if not rows:
            return
        with self._lock:
            if self._done:
                raise RuntimeError("this record is done; no more rows can be added")
            self._rows += self._fallen.without(rows)
            if most is not None and len(self._rows) > most and not self._shortening:
                self._shortening = True  # apart, as who adds must not wait for it
                threading.Thread(target=self._shorten, args=[most], daemon=True).start()
        self._changed()

    def _shorten(self, most: int) -> None:
        while rows := self._too_many(most):
            made = cut(rows, most)
            with self._lock:
                self._fallen.add(made, most)
                self._rows = made.kept + self._fallen.without(self._rows[len(rows) :])
            self._changed()
            self.remark("dropped", f"{self.dropped}: there is room for {most:,} rows (max_rows)")

    def _too_many(self, most: int) -> list[Row]:
        """All rows, if they are more than there is room for."""
        with self._lock:
            self._shortening = len(self._rows) > most
            return list(self._rows) if self._shortening else []

    def finish(self) -> None:
        """No more will come; more than one call does nothing."""
        with self._lock:
            if self._done:
                return
            self._done = True
        self._changed()

    @property
    def dropped(self) -> Dropped:
        """What fell out of a live record that had no more room: events and their rows."""
        return self._fallen.count

    def remark(self, about: str, text: str) -> None:
        """Have `remarks` say `text`, in place of what was said `about` the same; "" for nothing."""
        if self._remarks.get(about, "") != text:
            self._remarks[about] = text
            self._tell()

    @property
    def remarks(self) -> list[str]:
        """What the record leaves out, in words."""
        return [text for text in self._remarks.values() if text]

    @property
    def problem(self) -> str | None:
        """What keeps a live record from going on at the moment; None if nothing does."""
        return self._problem

    @problem.setter
    def problem(self, problem: str | None) -> None:
        if problem != self._problem:
            self._problem = problem
            self._tell()

    def on_stop(self, callback: Callable[[], object]) -> None:
        """Have `stop()` call `callback`, which ends what feeds this record."""
        self._stops.append(callback)

    def stop(self) -> None:
        """End what feeds a live record; what it has stays. Stopping twice does nothing."""
        stops, self._stops = self._stops, []
        for stop in stops:
            stop()
        self.finish()

    @property
    def done(self) -> bool:
        """Whether no more will come."""
        return self._done

    def on_change(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback` after rows came or the record was done; returns what ends this.

        It is called on the thread that added them and must be quick; what it raises is logged.
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
            self._made.clear()
            self._table = None
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            callbacks = list(self._callbacks)
        for callback in callbacks:
            try:
                callback()
            except Exception:
                _logger.exception("a callback of %s failed", type(self).__name__)

    # Looking

    def rows(self, start: int = 0) -> list[Row]:
        """The rows from position `start` on, in the order in which they were added."""
        with self._lock:
            return self._rows[start:]

    def rows_after(self, known: int, first: int) -> tuple[list[Row], int]:
        """The rows after the first `known`, and the number of the first event.

        Where that is not `first`, older rows fell out, and all others are given.
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
        `event_type`, `seq`, `delivery`, `since_published` (seconds after the event's first
        publishing, or storing where nobody saw that), `error`.
        """
        return self._make("frame", _frames.frame)

    @property
    def ledger(self) -> pd.DataFrame:
        """One row for each event; copies of one event are the same event.

        Index `event_id` in order of first publishing; columns `event` (its number), `event_type`,
        `channel`; counts: `published`, `stored`, `deduplicated` (copies); `delivered`, of these
        `redelivered` not the first, `handled`, `skipped` (by a consumer's deduplicator),
        `failed`, `unseen` (settled by a service whose handlers cannot be seen) and `unfinished`
        (deliveries by how they ended); `acked`, `naked`, `terminated`,
        `expired`, `dead_lettered`, `replayed`; `ack_lost` (acks that did nothing: the message was
        delivered again); `outcome`, which is `handled once`, `handled 2 times` and so on,
        `dead-lettered`, `discarded`, `lost`, `acknowledged` or `pending`; `first_published` (or
        stored where nobody saw that), `last_seen` (UTC).

        A bus cannot tell what a `@listen(deduplicator=)` skipped, so that this counts as handled.
        """
        return self._make("ledger", self._make_ledger)

    def _make_ledger(self, table: Table) -> pd.DataFrame:
        return _frames.ledger(table, done=self._done, sees_handlers=self.sees_handlers)

    @property
    def flow(self) -> Flow:
        """How many there were on each part of the way, in sums that add up."""
        return _frames.flow(self.ledger)

    @property
    def copies(self) -> pd.DataFrame:
        """One row for each copy that was published, by event.

        Columns `event_id`, `event`, `copy` (from 1), `published_at` (missing where nobody saw
        it), `arrived_at` (when the stream took it or said that it was dropped, missing if neither
        is known), `seq` (of the first copy for one that was dropped), `dropped`,
        `window_ends_at` (the duplicate window after the last stored copy; a dropped one does not
        refresh it; missing where no message id was sent), `inside_window` (whether it came in
        the window of an earlier copy with its message id).
        """
        sends_ids = self.semantics in (None, "exactly_once")
        window = self.duplicate_window if sends_ids else None
        return self._make("copies", lambda table: _frames.copies(table, window))

    @property
    def latency(self) -> pd.DataFrame:
        """One row for each stored event, in seconds since its first publishing.

        Index `event_id`; columns `event`, `stored_at` (UTC), `publish_to_stored`,
        `publish_to_delivered` and `publish_to_acked` (the first time each; an ack that was lost
        is none). Where nobody saw the publishing, the first is missing and the others are since
        the storing. A duration below 0 is what the clocks of two machines differ by.
        """
        sees = self.sees_handlers
        return self._make("latency", lambda table: _frames.latency(table, sees))

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
                if (made := self._made.get(name)) is not None:
                    return made
                version, table = self._version, self._table
                rows = self._rows if table is None else []
                rows, start = list(rows), self._first
            # adding goes on meanwhile
            table = table or Table(rows, start)
            made = make(table)
            with self._lock:
                if self._version == version:
                    self._table, self._made[name] = table, made
            return made
