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

from varco_nats_widgets import _record_frames
from varco_nats_widgets._cells import escape
from varco_nats_widgets._record_frames import Flow
from varco_nats_widgets._record_rows import KINDS, Row
from varco_nats_widgets._record_table import Table
from varco_nats_widgets._verdict import Verdict

__all__ = ["KINDS", "DeliveryRecord", "Flow", "Row", "Verdict"]

_logger = logging.getLogger("varco_nats")


class DeliveryRecord:
    """What happened to every message. Thread-safe; it only grows while it is live.

    Its frames are made when asked for, of all rows there are then; the same object is returned
    until more came, so copy one before changing it.

    Args:
        rows: what has happened already.
        title: what it is a record of.
        duplicate_window: of the stream, in seconds; None where it is not known.
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
        self.problem: str | None = None
        """What keeps a live record from being complete at the moment; None if nothing does."""
        self._lock = threading.RLock()
        self._rows: list[Row] = []
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
        shown = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
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
        rows = list(rows)
        for row in rows:
            if row.kind not in KINDS:
                raise ValueError(f"kind {row.kind!r} is none of {', '.join(KINDS)}")
        if not rows:
            return
        with self._lock:
            if self._done:
                raise RuntimeError("this record is done; no more rows can be added")
            self._rows += rows
        self._changed()

    def finish(self) -> None:
        """No more will come; more than one call does nothing."""
        with self._lock:
            if self._done:
                return
            self._done = True
        self._changed()

    def add_bounded(self, rows: Iterable[Row], most: int) -> None:
        """`add`, and stop when there would be more than `most` rows; `problem` says so then."""
        rows = list(rows)
        if len(self) + len(rows) <= most:
            self.add(rows)
            return
        self.problem = f"stopped at {len(self):,} rows, as there is room for {most:,} (max_rows)"
        self.stop()

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
            self._made.clear()
            self._table = None
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

    @property
    def frame(self) -> pd.DataFrame:
        """All rows in order of time.

        Index `n`, from 0; columns `time` (UTC), `kind`, `process`, `channel`, `event` (the
        event's number in order of first publishing, from 1), `event_id`, `event_type`, `seq`,
        `delivery`, `since_published` (seconds after the event's first publishing), `error`.
        """
        return self._make("frame", _record_frames.frame)

    @property
    def ledger(self) -> pd.DataFrame:
        """One row for each event; copies of one event are the same event.

        Index `event_id` in order of first publishing; columns `event` (its number), `event_type`,
        `channel`; counts: `published`, `stored`, `deduplicated` (copies); `delivered`, of these
        `redelivered` not the first, `handled`, `skipped` (by a consumer's deduplicator),
        `failed`, `unseen` (settled by a service whose handlers cannot be seen) and `unfinished`
        (deliveries by how they ended); `acked`, `naked`, `terminated`,
        `expired`, `dead_lettered`, `replayed`; `outcome`, which is `handled once`,
        `handled 2 times` and so on, `dead-lettered`, `discarded`, `lost`, `acknowledged` or
        `pending`; `first_published`, `last_seen` (UTC).
        """
        done, sees = self._done, self.sees_handlers
        return self._make(
            "ledger", lambda table: _record_frames.ledger(table, done=done, sees_handlers=sees)
        )

    @property
    def flow(self) -> Flow:
        """How many there were on each part of the way, in sums that add up."""
        return _record_frames.flow(self.ledger)

    @property
    def copies(self) -> pd.DataFrame:
        """One row for each copy that was published, by event.

        Columns `event_id`, `event`, `copy` (from 1), `published_at`, `arrived_at` (when the
        stream took it or said that it was dropped, missing if neither is known), `seq` (of the
        first copy for one that was dropped), `dropped`, `window_ends_at` (the duplicate window
        after the last stored copy; a dropped one does not refresh it), `inside_window` (whether
        it came in the window of an earlier copy).
        """
        window = self.duplicate_window
        return self._make("copies", lambda table: _record_frames.copies(table, window))

    @property
    def latency(self) -> pd.DataFrame:
        """One row for each stored event, in seconds since its first publishing.

        Index `event_id`; columns `event`, `stored_at` (UTC), `publish_to_stored`,
        `publish_to_delivered` and `publish_to_acked` (the first time each).
        """
        return self._make("latency", _record_frames.latency)

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
        with self._lock:
            made = self._made.get(name)
            if made is None:
                if self._table is None:
                    self._table = Table(self._rows)
                made = self._made[name] = make(self._table)
            return made
