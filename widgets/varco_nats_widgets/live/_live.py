"""`LiveFrame`: what arrives in a channel, as a DataFrame that grows."""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import pandas as pd
import traitlets

from varco_nats._nats.client import Connection
from varco_nats.config import NatsEventBusSettings
from varco_nats.history._tail import Tail
from varco_nats_widgets._session.handle import Handle
from varco_nats_widgets._session.job import Call, InThread, Job, Twin, awaiting, blocking
from varco_nats_widgets._session.loop import LoopThread
from varco_nats_widgets._session.model import WidgetModel, end_all
from varco_nats_widgets._session.reopening import call_code
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._conditions import Condition
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._query import (
    EventType,
    Moment,
    fields_of_times,
    frame_query,
    whole_number,
)
from varco_nats_widgets.live._feed import LiveFeed, LiveQuery, Where
from varco_nats_widgets.live._passing import Passing, renamed
from varco_nats_widgets.live._plot import LivePlot
from varco_nats_widgets.live._rows import BoundedRows

MAX_ROWS = 10_000
"""Rows that a live frame keeps, unless told otherwise."""

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of payload that a live frame keeps, unless told otherwise."""

_logger = logging.getLogger("varco_nats")


def live_query(
    channel: str | Iterable[str],
    *,
    event_type: EventType | Iterable[EventType] | None = None,
    where: Where | str | None = None,
    headers: bool | Iterable[str] = False,
    last: timedelta | str | None = None,
    since: Moment | None = None,
    start_seq: int | None = None,
    times: str | Iterable[str] = (),
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
) -> LiveQuery:
    """The query that the arguments of `Lab.live` stand for.

    Raises:
        ConditionError: `where` is a text that is no condition; says where.
        ValueError, TypeError: an argument that cannot be used.
    """
    row_limit = whole_number("max_rows", max_rows, 1)
    byte_limit = whole_number("max_bytes", max_bytes, 1)
    if row_limit is None or byte_limit is None:
        raise TypeError("max_rows= and max_bytes= cannot be None: a live frame is bounded")
    test: Where | Condition | None = None
    if isinstance(where, str):
        test = Condition.parse(where) if where.strip() else None
    elif where is None or callable(where):
        test = where
    else:
        raise TypeError(
            f"where={where!r} is no function and no condition; write where='total > 100' or "
            "where=lambda row: row['total'] > 100"
        )
    query = frame_query(
        channel,
        last=last,
        since=since,
        start_seq=start_seq,
        event_type=event_type,
        headers=headers,
    )
    return LiveQuery(
        channels=query.channels,
        event_types=query.event_types,
        where=test,
        headers=query.headers,
        since=query.since,
        start_seq=query.start_seq,
        max_rows=row_limit,
        max_bytes=byte_limit,
        times=fields_of_times(times),
    )


class LiveFrame(WidgetModel):
    """The newest events of a channel, as they arrive; made by `Lab.live`.

    `df` has them as a DataFrame. Shown in a notebook it is a table, a chart of the rate, the
    counts, and buttons for `pause()`, `resume()` and `stop()`.

    It reads on the lab's thread, so that a busy kernel misses nothing, and goes on at the next
    sequence when the server or the connection was away. Nothing is acknowledged or taken from a
    service. It ends with `stop()`, with the lab, or when nothing has it any more: no variable and
    no output. The output of a cell has what it shows until that cell runs again or is deleted.

    `live.observe(function, "received")` calls a function on each change of a count or of `state`;
    it runs on the lab's thread and should be short. `live.aio` has the awaitable twins of the
    methods.
    """

    received = traitlets.Int(0, read_only=True)
    """Rows that arrived, those that fell out again included."""
    filtered = traitlets.Int(0, read_only=True)
    """Messages that `event_type` and `where` left out; they are not among `received`."""
    dropped = traitlets.Int(0, read_only=True)
    """Rows that fell out at the beginning, as there is room for `max_rows` and `max_bytes`."""
    gaps = traitlets.Int(0, read_only=True)
    """Messages that the stream's own limits removed, or that services took out of a WorkQueue or
    Interest stream, before they could be read. Where the stream has other channels too, some of
    them may have been theirs. Of what no stream keeps, only messages that came faster than they
    could be taken; how many passed by unseen, nobody knows."""
    interruptions = traitlets.Int(0, read_only=True)
    """How often it saw nothing of what no stream keeps: it was disconnected, or paused. Of what a
    stream keeps nothing is missed so, and this is 0."""
    rate = traitlets.Float(0.0, read_only=True)
    """Rows a second over the last five seconds; 0 while it is paused or stopped."""
    state = traitlets.Unicode("catching up", read_only=True)
    """`catching up`, `live`, `paused`, `reconnecting`, `waiting` (there is no such stream yet) or
    `stopped`."""
    error = traitlets.Unicode(None, allow_none=True, read_only=True)
    """Why it is not live, or what `where` raised; None if nothing is wrong."""
    notice = traitlets.Unicode("", read_only=True)
    """That a channel holds no messages, until it gets one, and which do; that services take the
    messages out of the stream; or what of `times=` is no time in the rows that `df` had so far; ""
    otherwise."""
    _end = traitlets.Int(0)  # of `counts_by_second`, so that a view moves on with it

    def __init__(
        self,
        loop: LoopThread,
        connection: Connection,
        settings: NatsEventBusSettings,
        query: LiveQuery,
        *,
        stream: str | None = None,
        stored: bool = True,
        silent: Mapping[str, str] | None = None,
        make_builder: Callable[[], FrameBuilder] | None = None,
        decoding: Decoding | None = None,
        owner: Handle | None = None,
        made_by: str = "",
    ) -> None:
        """Call `open` on the loop thread next.

        Args:
            stream: a stream to follow instead of the settings'; `query.channels` are subjects then.
            stored: whether to follow a stream; or what passes by, kept or not, with `stream=""` for
                subjects.
            silent: what to say of subjects for as long as nothing comes on them.
            make_builder: gives the builder of the rows; default a plain `FrameBuilder`.
            decoding: how messages are read; default JSON.
            owner: is kept alive for as long as this is, which looks closed when it has ended.
            made_by: the code that made it.

        Raises:
            InvalidChannelError: no channel can have such a name.
        """
        super().__init__()
        decoding = decoding or Decoding(settings.channel_from_subject)
        if stream is not None:
            decoding = decoding.named(str)
        subjects = query.channels
        if stream is None:
            subjects = tuple(settings.subject_name(channel) for channel in query.channels)
        renew_of = weakref.WeakMethod(self._renew)  # what runs must not keep alive what stops it

        def changed() -> None:
            if (renew := renew_of()) is not None:
                renew()

        self._passing = None if stored else Passing(settings, subjects, changed)
        tail = self._passing or Tail(
            connection, stream or settings.stream_name, subjects, on_change=changed
        )
        builder = make_builder or (lambda: FrameBuilder(decoding, headers=query.headers))
        rows = BoundedRows(builder, query.max_rows, query.max_bytes, query.times)
        self.read_only = settings.read_only
        """Whether its lab only looks."""
        self._what = ", ".join(query.channels)
        if not stored:
            self._what += ", passing by, not stored"
        elif stream and query.channels == (">",):
            self._what = f"stream {stream}"
        self._made_by = made_by
        if owner is not None:
            self._ends_with(owner.session)
        self._owner = owner
        self._loop = loop
        self._feed = LiveFeed(tail, rows, query, decoding, changed, silent)
        self._finalizer = weakref.finalize(self, end_all, loop, self._feed.stop, self._views)
        self._finalizer.atexit = False

    def __repr__(self) -> str:
        waiting = self._feed.waiting
        return f"LiveFrame({self._what}{f', waiting: {waiting}' if waiting else ''})"

    def _code(self) -> str:
        return self._made_by

    async def open(self) -> None:
        """Fix where to begin, and begin; runs on the loop thread.

        Raises:
            nats.errors.Error, JetStreamUnavailableError: the server gave no answer.
        """
        await self._feed.open()

    @property
    def feed(self) -> LiveFeed:
        """What does the work; a lab that closes awaits its `stop()` on the loop thread."""
        return self._feed

    @property
    def aio(self) -> LiveAio:
        """The awaitable twins of `pause`, `resume`, `stop` and `wait`."""
        return LiveAio(self)

    @property
    def df(self) -> pd.DataFrame:
        """The rows there are now, oldest first, with the columns of `Lab.frame`.

        Made of what is new since it was last asked for. `attrs["completeness"]` has `expected`
        (messages that arrived or are known to be missing), `loaded`, `filtered`, `gaps`,
        `dropped` and `truncated_by` (`"max_rows"`, `"max_bytes"` or None).

        Of what no stream keeps, the index is `arrival`, which counts what was seen, as there is no
        sequence, and `received_at` is when it came here. `attrs["completeness"]` then has `stored`
        (False), `expected` None, as nobody knows how many there were, and `interruptions`, the last
        100: `from`, `to` (None as long as it lasts) and `why`.
        """
        return self.snapshot()[0]

    def snapshot(self) -> tuple[pd.DataFrame, int]:
        """`df`, and how many rows had arrived when it was made."""
        feed = self._feed
        frame, added = feed.rows.snapshot()
        frame.attrs["completeness"] = {
            "expected": added + feed.filtered + feed.tail.gaps,
            "loaded": len(frame) + feed.filtered,
            "filtered": feed.filtered,
            "gaps": feed.tail.gaps,
            "dropped": added - len(frame),
            "truncated_by": feed.rows.bound,
        }
        if self._passing is not None:
            frame.attrs["completeness"] |= {
                "expected": None,
                "stored": False,
                "interruptions": self._passing.told,
            }
            frame = frame.rename(columns=renamed(frame.columns))
            frame.index.name = "arrival"
        return frame, added

    def plot(self, field: str, *, by: str | None = None, x: str = "stored_at") -> LivePlot:
        """A field of numbers over time, drawn as it comes; the last expression of a cell shows it.

        It shows the rows that this has, so `max_rows` of `Lab.live` says how far back it goes.
        What is not drawn it says: that no event has the field yet, or values that are no numbers.

        Args:
            field: the field to draw, such as `"value"` or `"engine.rpm"`.
            by: a line for each value of this field, at most 12, and one for all others together.
            x: when, instead of the time stored, or received where it is not stored: a field of
                times, as `times` of `Lab.frame` reads them.

        Raises:
            TypeError: a field is not given by its name.

        Example:
            lab.live("telemetry").plot("value", by="device")
        """
        for name, value in (("field", field), ("by", by or ""), ("x", x)):
            if not isinstance(value, str):
                raise TypeError(f"{name}={value!r}: must be the name of a field")
        if self._passing is not None and x == "stored_at":
            x = "received_at"
        return LivePlot(self, self._loop, field, by, x, f"LivePlot({self._what}: {field})")

    def counts_by_second(self) -> tuple[list[float], list[float]]:
        """The last two minutes: seconds since 1970, and the rows that arrived in each.

        They end with the last whole second, or with the one in which it was paused or stopped.
        """
        return self._feed.rates.by_second()

    @property
    def paused(self) -> bool:
        """Whether it is paused."""
        return bool(self.state == "paused")

    @blocking
    def pause(self) -> Job[None]:
        """Read no more for now. Nothing is lost: `resume()` goes on at the next sequence.

        Of what no stream keeps, what passes by meanwhile is not seen: an interruption.
        """
        return Call(self._loop, self._feed.pause())

    @blocking
    def resume(self) -> Job[None]:
        """Go on after `pause()`: first catch up, then live.

        Raises:
            RuntimeError: it was stopped.
        """
        return Call(self._loop, self._feed.resume())

    @blocking
    def stop(self) -> Job[None]:
        """End it; `df` stays. Stopping twice does nothing."""
        if self._loop.is_closed:  # and this has ended with it
            return InThread(lambda: None)
        return Call(self._loop, self._feed.stop())

    @blocking
    def wait(self, rows: int = 1, timeout: float = 30.0) -> Job[None]:
        """Wait until `rows` rows have arrived since it was made.

        Raises:
            TimeoutError: they have not, after `timeout` seconds or when it was stopped.
        """
        return Call(self._loop, self._feed.wait(rows, timeout))

    def _renew(self) -> None:
        """Set the traits to what the feed has; an observer's failure is shown, not raised."""
        feed = self._feed
        values = {
            "received": feed.rows.added,
            "filtered": feed.filtered,
            "dropped": feed.rows.dropped,
            "gaps": feed.tail.gaps,
            "interruptions": 0 if self._passing is None else self._passing.interruptions,
            "rate": round(feed.rates.rate(), 1),
            "_end": feed.rates.end,
            "error": feed.error,
            "notice": feed.notice,
            "state": feed.state,
        }
        for name, value in values.items():
            try:
                self.set_trait(name, value)
            except Exception:
                _logger.exception("an observer of %r failed", self)

    def _text(self) -> str:
        # whatever has arrived, as a notebook may be compared with an earlier run
        return f"LiveFrame({self._what})"


class LiveAio(Twin[LiveFrame]):
    """The methods of `LiveFrame`, to be awaited on any event loop."""

    pause = awaiting(LiveFrame.pause)
    resume = awaiting(LiveFrame.resume)
    stop = awaiting(LiveFrame.stop)
    wait = awaiting(LiveFrame.wait)


def _code_of(channel: object, **options: Any) -> str:
    """The call of `Lab.live` with these options, without those that are as by default."""
    defaults = inspect.signature(live_query).parameters
    given = {
        name: value
        for name, value in options.items()
        if name not in defaults or value != defaults[name].default
    }
    return call_code("lab.live", channel, **given)


async def open_live(
    handle: Handle,
    channel: str | Iterable[str] | None,
    *,
    stream: str | None,
    subject: str | Iterable[str] | None,
    stored: bool,
    **options: Any,
) -> LiveFrame:
    """A live frame that has begun; it keeps `handle` alive."""
    session = handle.session
    if not stored:
        _check_passing(stream, options)
    place = frame_query(channel, stream=stream, subject=subject)
    followed = place.stream
    if followed is not None and stored:
        followed = await session.view.stream_of(place)
    query = live_query(place.channels, **options)
    frame = LiveFrame(
        session.loop,
        session.connection,
        session.settings,
        query,
        stream=followed,
        stored=stored,
        silent=await session.view.silent(place.channels, followed) if stored else None,
        decoding=session.decoding,
        owner=handle,
        made_by=_code_of(
            channel,
            stream=stream,
            subject=subject,
            **({} if stored else {"stored": False}),
            **options,
        ),
    )
    session.readers.add(frame.feed)
    await frame.open()
    return frame


def _check_passing(stream: str | None, options: dict[str, Any]) -> None:
    """Refuse what only a stream has."""
    if stream is not None:
        raise ValueError(
            "stored=False is for what passes by on subjects: give subject=, and no stream="
        )
    for name in ("last", "since", "start_seq"):
        if options.get(name) is not None:
            raise ValueError(
                f"{name}= is for what a stream keeps; with stored=False it begins with what comes "
                "from now on"
            )
