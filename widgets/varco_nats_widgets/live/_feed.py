"""`LiveFeed`: follows a stream on the loop thread and gives a live frame its rows and counts."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from varco_nats._nats.stream import covers
from varco_nats.errors import VarcoNatsError
from varco_nats.history import StoredMessage
from varco_nats.history._tail import Tail
from varco_nats_widgets.frames._columns import column_of
from varco_nats_widgets.frames._conditions import Condition
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._headers import Headers, header_columns, header_values, taken_with
from varco_nats_widgets.frames._payload import COLUMNS, flatten, take_apart, with_time_as_field
from varco_nats_widgets.frames._times import times_of
from varco_nats_widgets.live._passing import Passing, renamed_row
from varco_nats_widgets.live._rows import BoundedRows

_logger = logging.getLogger("varco_nats")

_INLINE = 100  # messages that are decoded on the loop; more are decoded in a thread
_RATE_SECONDS = 5.0
_TICK_SECONDS = 0.5
_FORGETS = (
    "services take the messages out of this stream: one that is taken within 0.2 s of its arrival "
    "is missing here and counts as a gap"
)
CHART_SECONDS = 120
"""How far back the counts by second go."""

Where = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class LiveQuery:
    """Which messages a live frame holds."""

    channels: tuple[str, ...]
    event_types: frozenset[str] | None
    where: Where | Condition | None
    headers: Headers
    since: datetime | None
    start_seq: int | None
    max_rows: int
    max_bytes: int
    times: tuple[str, ...] = ()


class LiveFeed:
    """Moves messages from `tail` into `rows`. Its coroutines run on the loop thread.

    Args:
        decoding: how messages are read.
        on_change: called on that thread after each change.
        silent: a notice for each subject or pattern that holds no messages, until it gets one.
    """

    def __init__(
        self,
        tail: Tail | Passing,
        rows: BoundedRows,
        query: LiveQuery,
        decoding: Decoding,
        on_change: Callable[[], None],
        silent: Mapping[str, str] | None = None,
    ) -> None:
        self.tail = tail
        self.rows = rows
        self.filtered = 0
        self.rates = ArrivalRates()
        self._query = query
        self._decoding = decoding
        self._on_change = on_change
        self._silent = dict(silent or {})
        self._state = ""  # paused or stopped; "" means that the tail's state counts
        self._fatal: str | None = None
        self._where_error: str | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._switching = asyncio.Lock()
        self._progress = asyncio.Event()

    @property
    def state(self) -> str:
        return self._state or self.tail.state

    @property
    def error(self) -> str | None:
        transient = None if self._state == "stopped" else self.tail.problem
        return self._fatal or self._where_error or transient

    @property
    def waiting(self) -> str:
        """A notice about a channel that holds no messages yet; "" if there is no such channel."""
        return next(iter(list(self._silent.values())), "")

    @property
    def notice(self) -> str:
        if isinstance(self.tail, Passing):
            said = (self.tail.notice, self.rows.problem, self._decoding.notice)
            return "; ".join(filter(None, said))
        forgets = _FORGETS if self.tail.forgets else ""
        return self.waiting or forgets or self.rows.problem or self._decoding.notice

    async def open(self) -> None:
        """Decide where to begin, and begin; raises what `Tail.seek` does."""
        await self.tail.seek(since=self._query.since, start_seq=self._query.start_seq)
        await self.resume()

    async def pause(self) -> None:
        """Read no more for now; `resume` goes on at the next sequence."""
        async with self._switching:
            if not self._state:
                await self._end("paused")

    async def resume(self) -> None:
        """Go on at the next sequence."""
        async with self._switching:
            if self._state == "stopped":
                raise RuntimeError("this live frame is stopped; make a new one with lab.live()")
            if self._tasks:
                return
            self._state = ""
            self.rates.resume()
            self._tasks = [
                asyncio.create_task(self._read(), name="live frame"),
                asyncio.create_task(self._tick(), name="live frame's rate"),
            ]
            self.changed()

    async def stop(self) -> None:
        """End for good and delete the consumer."""
        async with self._switching:
            if isinstance(self.tail, Passing):
                await self.tail.close()
            if self._state != "stopped":
                await self._end("stopped")

    shut = stop

    async def wait(self, rows: int, timeout: float) -> None:
        """Wait until `rows` rows have arrived since the beginning; raises TimeoutError."""
        ended = asyncio.timeout(timeout)
        with suppress(TimeoutError):
            async with ended:
                while self.rows.added < rows and self._state != "stopped":
                    await self._progress.wait()
        if self.rows.added < rows:
            after = f"within {timeout:g} s" if ended.expired() else "before it was stopped"
            problem = f": {self.error}" if self.error else ""
            raise TimeoutError(
                f"{self.rows.added} of {rows} rows arrived {after} ({self.state}{problem})"
            )

    async def _end(self, state: str) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if isinstance(self.tail, Passing):
            await self.tail.leave()
        self._halt(state)

    def _halt(self, state: str) -> None:
        self._state = state
        self.rates.pause()
        self.changed()

    async def _read(self) -> None:
        try:
            async with aclosing(self.tail.batches()) as batches:
                async for batch in batches:
                    await self._take(batch)
        except asyncio.CancelledError:
            if not self._switching.locked():  # the lab ends, and this feed with it
                self._halt("stopped")
            raise
        except Exception as error:  # shown in the frame; nobody awaits this task
            known = isinstance(error, VarcoNatsError)
            self._fatal = str(error) if known else f"{type(error).__name__}: {error}"
            _logger.warning("a live frame ended: %s", self._fatal, exc_info=not known)
            self._halt("stopped")

    async def _take(self, batch: Sequence[StoredMessage]) -> None:
        if len(batch) <= _INLINE and self._query.where is None:
            self._add(batch)
        else:
            work = asyncio.ensure_future(asyncio.to_thread(self._add, batch))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                await work  # the tail will not give these messages again
                raise
        self.changed()

    def _add(self, batch: Sequence[StoredMessage]) -> None:
        query = self._query
        for pattern in list(self._silent):
            if any(covers(pattern, message.subject) for message in batch):
                del self._silent[pattern]
        if query.event_types is not None or query.where is not None:
            rows = self._rows_of(batch)
            kept = [message for message, row in zip(batch, rows, strict=True) if self._keeps(row)]
            self.filtered += len(batch) - len(kept)
            batch = kept
        self.rows.add(batch)
        self.rates.add(len(batch))

    def _rows_of(self, batch: Sequence[StoredMessage]) -> list[dict[str, Any]]:
        """What `event_type` and `where` are asked about: rows as a frame shows them."""
        where, headers = self._query.where, self._query.headers
        if isinstance(where, Condition) and where.headers:
            headers = True  # it finds each of them there
        rows = [row_of(message, self._decoding, headers) for message in batch]
        if isinstance(self.tail, Passing):
            rows = [*map(renamed_row, rows)]
        names = self._query.times if where is not None else ()
        for name in (name for name in names if name not in COLUMNS):  # which are times already
            have = [row for row in rows if name in row]
            times, _ = times_of(column_of([row[name] for row in have]))
            for row, found in zip(have, times, strict=True):
                row[name] = None if pd.isna(found) else found
        return rows

    def _keeps(self, row: dict[str, Any]) -> bool:
        where, types = self._query.where, self._query.event_types
        if types is not None and row["event_type"] not in types:
            return False
        if where is None:
            return True
        if isinstance(where, Condition):
            return where.matches(row)
        try:
            return bool(where(row))
        except Exception as error:
            at = f"seq {row['seq']}" if "seq" in row else f"arrival {row['arrival']}"
            problem = f"where(row) failed at {at}: {type(error).__name__}: {error}"
            self._where_error = f"{problem} (such rows are kept)"
            return True

    async def _tick(self) -> None:
        """Report changes even when nothing arrives: the rate falls and the chart moves on."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.changed()

    def changed(self) -> None:
        """Wake those who wait for rows, and report the change."""
        progress, self._progress = self._progress, asyncio.Event()
        progress.set()
        self._on_change()


class ArrivalRates:
    """Counts the events that arrive in each second. Thread-safe."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_total = 0
        self._seconds: deque[tuple[int, int]] = deque(maxlen=CHART_SECONDS)
        self._paused_at: int | None = None  # the first second that is not counted

    def pause(self) -> None:
        """Nothing arrives from now on: the rate is 0, and the current second counts as whole."""
        self._paused_at = int(time.time()) + 1

    def resume(self) -> None:
        """Events may arrive again."""
        self._paused_at = None

    def add(self, count: int) -> None:
        """`count` events have just arrived."""
        if not count:
            return
        second = int(time.time())
        with self._lock:
            self._recent.append((time.monotonic(), count))
            self._recent_total += count
            if self._seconds and self._seconds[-1][0] >= second:
                last, before = self._seconds[-1]
                self._seconds[-1] = (last, before + count)
            else:
                self._seconds.append((second, count))

    def rate(self) -> float:
        """Events per second over the last five seconds; 0 while paused."""
        if self._paused_at is not None:
            return 0.0
        now = time.monotonic()
        with self._lock:
            while self._recent and self._recent[0][0] < now - _RATE_SECONDS:
                self._recent_total -= self._recent.popleft()[1]
            return self._recent_total / max(min(now - self._began, _RATE_SECONDS), 1.0)

    @property
    def end(self) -> int:
        """The second before which `by_second` ends; it stops moving once all counts are 0."""
        with self._lock:
            last = self._seconds[-1][0] if self._seconds else 0
        now = int(time.time()) if self._paused_at is None else self._paused_at
        return min(now, last + CHART_SECONDS + 1)

    def by_second(self) -> tuple[list[float], list[float]]:
        """Seconds since 1970 and how many events arrived in each, up to the last whole second."""
        end = self.end
        with self._lock:
            counts = dict(self._seconds)
        first = max(min(counts, default=end), end - CHART_SECONDS)
        times = list(range(first, end))
        return [float(t) for t in times], [float(counts.get(t, 0)) for t in times]


def row_of(message: StoredMessage, decoding: Decoding, headers: Headers = False) -> dict[str, Any]:
    """One message as a dict with the names of a frame's columns, and `seq`.

    `event_type`, `event_id` and `timestamp` are None if it has none; `decode_error` and `raw` are
    there only if the payload cannot be decoded.
    """
    decoded = decoding.decode(message)
    event = decoded.event
    fields = take_apart(event)
    payload, moment = fields.payload, None
    if fields.timestamp is not None:
        try:
            moment = _utc(datetime.fromisoformat(fields.timestamp))
        except ValueError:  # it stays a field, as in a frame
            payload = with_time_as_field(event, fields)
    row: dict[str, Any] = {
        "seq": message.seq,
        "stored_at": pd.Timestamp(message.time_ns, tz="UTC"),
        "channel": decoding.channel_of(message.subject),
        "event_type": fields.event_type,
        "event_id": fields.event_id,
        "timestamp": moment,
        **flatten(payload, taken_with(headers)),
    }
    if headers:
        own = header_values(decoding.headers(message.headers), headers)
        row |= zip(header_columns(headers), own, strict=True)
    if decoded.problem is not None:
        row |= {"decode_error": decoded.problem, "raw": decoding.raw(message)}
    return row


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
