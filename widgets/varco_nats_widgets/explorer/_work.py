"""What an `Explorer` does, as coroutines that run on its lab's loop thread."""

from __future__ import annotations

import asyncio
import logging
import operator
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import fields
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from varco_nats.errors import ServerUnreachableError, UnknownChannelError, VarcoNatsError
from varco_nats.history import History, StoredMessage
from varco_nats_widgets._session.background import Rates, describe_error, follow, watch
from varco_nats_widgets._session.look import LabHistory
from varco_nats_widgets._session.session import Session
from varco_nats_widgets.explorer._code import page_code, rows_code
from varco_nats_widgets.explorer._filtered import FilteredHistory, FilteredQuery
from varco_nats_widgets.explorer._paging import Filters, Page, Pager
from varco_nats_widgets.explorer._statistics import Statistics, StatisticsBuilder
from varco_nats_widgets.frames._columns import clean
from varco_nats_widgets.frames._conditions import Condition, where
from varco_nats_widgets.frames._message import Message, message_of
from varco_nats_widgets.frames._query import EventType, FrameQuery, Moment, frame_query, moment

if TYPE_CHECKING:
    from varco_nats_widgets.export import ExportResult, Format

SCAN_LIMIT = 1_000_000
"""Messages a filter looks at for one page."""

_logger = logging.getLogger("varco_nats")

_RECONNECT_SECONDS = 2.0  # what an action waits for a lost connection
_STOP_SECONDS = 1.0
_PROGRESS_SECONDS = 0.1
_MAX_TYPES = 500


class MessageNotFoundError(VarcoNatsError, LookupError):
    """No message with this sequence, where one is to be looked at.

    Attributes:
        channels: where it was looked for.
    """

    def __init__(self, seq: int, channels: Sequence[str]) -> None:
        self.seq = seq
        self.channels = tuple(channels)
        super().__init__(
            f"no message with sequence {seq} is stored in {', '.join(channels) or 'any channel'}; "
            "it may have been deleted meanwhile"
        )


class Model(Protocol):
    """What the work needs of an `Explorer`, which it sets traits of and knows no more of."""

    chosen: tuple[str, ...]
    known_types: tuple[str, ...]
    selected_seqs: list[int]
    at_oldest: bool
    follow: bool
    received: int
    error: str

    def set_trait(self, name: str, value: Any) -> None: ...


class Work:
    """The reading behind one `Explorer`. Work on the page, a message, statistics and an export
    go on side by side; new work of one kind ends the old."""

    def __init__(
        self, explorer: Model, session: Session, size: int, scan_limit: int, stream: str | None
    ) -> None:
        self._model = weakref.ref(explorer)  # background tasks must not keep it alive
        self._session = session
        self._size = size
        self._stream = stream  # another one, whose subjects the channels are then
        self._history = self._session.history
        self._channel_of: Callable[[str], str] = self._session.settings.channel_from_subject
        if stream is not None:
            self._history = LabHistory(self._session.settings, self._session.connection, stream)
            self._channel_of = str
        self._pager = Pager(self._history, self._channel_of, size, scan_limit)
        self._pager.on_progress = self._on_progress
        self._filters = Filters()
        self._page = Page(1, 0)
        self._begin: int | None = None  # where the page begins; None for the newest page
        self._since: datetime | None = None  # the time that was asked for
        self._running: dict[str, asyncio.Task[Any]] = {}
        self._failed: Callable[[], Coroutine[Any, Any, Any]] | None = None
        self._lost = ""  # the error that says so
        self._tailing: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._rates = Rates()
        self._seen = asyncio.Event()
        self._seen.set()  # until a browser says otherwise
        self._fresh: deque[StoredMessage] = deque(maxlen=size)  # arrived, not shown yet
        self._count = 0  # messages that arrived and are not counted yet
        self._trouble = ""
        self._shown_progress = 0.0
        self._session.readers.add(self)
        self._forget: Callable[[], object] = self._session.connection.on_reconnect(
            self._reconnected
        )

    @property
    def _chosen(self) -> tuple[str, ...]:
        model = self._model()
        return model.chosen if model is not None else ()

    def _set(self, **values: Any) -> None:
        model = self._model()
        if model is not None:
            for name, value in values.items():
                model.set_trait(name, value)

    # Actions

    async def act[**P, T](
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **options: P.kwargs
    ) -> T:
        """Do `work` instead of what is done of its kind; an error is shown and raised."""
        kind = work.__name__ if work.__name__ in ("open", "describe", "export") else "page"
        if (previous := self._running.get(kind)) is not None:
            previous.cancel()
        # a task of its own: the caller's must not be cancelled by the next action; it begins at
        # once, so that a filter is set also when the next action comes before it is read by
        loop, acting = asyncio.get_running_loop(), self._act(kind, work, *args, **options)
        task: asyncio.Task[T] = asyncio.Task(acting, loop=loop, eager_start=True)
        self._running[kind] = task
        task.add_done_callback(lambda task: self._ended(kind, task))
        try:
            return await task
        finally:
            task.cancel()

    async def _act[**P, T](
        self,
        kind: str,
        work: Callable[P, Coroutine[Any, Any, T]],
        *args: P.args,
        **options: P.kwargs,
    ) -> T:
        self._set(busy=True, error="", progress=(0, 0))
        self._shown_progress = 0.0
        try:
            if kind == "page":
                await self._end(self._tailing)
                self.show_arrived()
                self._set(notice="")
            self._pager.stop = False
            await self._connected()
            result = await self._session._reachable(work(*args, **options))
            self._failed = None
            return result
        except Exception as error:
            if work.__name__ != "retry":
                self._failed = lambda: work(*args, **options)
            problem = describe_error(error)
            self._lost = problem if isinstance(error, ServerUnreachableError) else ""
            self._set(error=problem)
            raise

    def _reconnected(self) -> None:
        """What the connection was the reason for is over; `retry` still does it again."""
        model = self._model()
        if model is not None and model.error and model.error in (self._lost, self._trouble):
            self._trouble = ""
            self._set(error="")

    def _ended(self, kind: str, task: asyncio.Task[Any]) -> None:
        if self._running.get(kind) is not task:
            return
        del self._running[kind]
        self._set(busy=bool(self._running))
        if kind == "page" and not self._session.closed:
            self._resume_tail()

    async def _connected(self) -> None:
        connection = self._session.connection
        if not connection.is_connected and not await connection.wait_connected(_RECONNECT_SECONDS):
            raise ServerUnreachableError(connection.servers, "the connection is lost")

    async def retry(self) -> None:
        """Do again what failed last, or read everything again."""
        failed = self._failed
        await (failed() if failed is not None else self.refresh())

    def stop(self) -> None:
        """End what runs: reading with what it has, an export at once. From any thread."""
        if not self._session.closed:
            self._session.loop.submit(self._stop())

    async def _stop(self) -> None:
        self._pager.stop = True
        tasks = dict(self._running)
        if export := tasks.pop("export", None):
            export.cancel()
        if tasks:
            _, waiting = await asyncio.wait(tasks.values(), timeout=_STOP_SECONDS)
            for task in waiting:  # for a server that does not answer
                task.cancel()
                self._set(notice="stopped before the server answered")

    def close(self) -> None:
        """End everything; from any thread."""
        if not self._session.closed:
            self._session.loop.submit(self.shut())

    async def shut(self) -> None:
        """`close`, on the loop thread."""
        self._set(follow=False)
        forget, self._forget = self._forget, lambda: None
        forget()
        for task in (*self._running.values(), self._tailing, self._watching):
            await self._end(task)

    @staticmethod
    async def _end(task: asyncio.Task[Any] | None) -> None:
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    def _on_progress(self, read: int, total: int) -> None:
        now = time.monotonic()
        if now - self._shown_progress > _PROGRESS_SECONDS or read >= total:
            self._shown_progress = now
            self._set(progress=(read, total))

    # Channels

    async def refresh(self) -> None:
        await self._load_channels()
        await self._read_again()

    async def select(self, channels: Sequence[str]) -> None:
        known = (await self._load_channels()).index.tolist()
        for channel in channels:
            if channel in known:
                continue
            # one that gets its first message now may be missing in the frame
            if not known or await self._session.view.silent([channel], self._stream):
                what = "channel" if self._stream is None else "subject"
                raise UnknownChannelError(channel, known, what)
        self._set(
            chosen=tuple(dict.fromkeys(channels)),
            known_types=(),
            statistics=None,
            message=None,
            received=0,
        )
        self._set(rates=self._rates.of(self._chosen))
        await self.newest()

    async def _load_channels(self) -> pd.DataFrame:
        frame = await self._session.look_async(self._session.view.channels(self._stream))
        self._set(channels=frame)
        return frame

    # Pages

    async def newest(self) -> None:
        if self._chosen:
            page = await self._pager.backwards(self._chosen, self._filters)
            await self._show(
                page, begin=None, at_oldest=page.ended, at_newest=True, from_newer=True
            )
            self._say_what_was_read(page, "older")
        else:
            await self._show(Page(1, 0), begin=None, at_oldest=True, at_newest=True)

    async def oldest(self) -> None:
        self._set(follow=False)
        await self._forwards(1, at_oldest=True)

    async def _forwards(self, start: int, *, at_oldest: bool) -> None:
        page = await self._pager.forwards(self._chosen, self._filters, start)
        await self._show(page, begin=start, at_oldest=at_oldest, at_newest=page.ended)
        self._say_what_was_read(page, "newer")

    async def older(self) -> None:
        self._set(follow=False)
        low, page = self._page.low, None
        if low > 1 and self._chosen:
            page = await self._pager.backwards(self._chosen, self._filters, low - 1)
            if page.messages:
                await self._show(
                    page,
                    begin=page.low,
                    at_oldest=page.ended,
                    at_newest=False,
                    from_newer=True,
                )
                self._say_what_was_read(page, "older")
                return
        if page is None or page.ended:
            self._set(at_oldest=True, notice=f"there is nothing older{self._that_matches()}")
            return
        self._page.low = page.low
        self._say_what_was_read(page, "older")

    async def newer(self) -> None:
        if not self._chosen:
            return
        page = await self._pager.forwards(self._chosen, self._filters, self._page.high + 1)
        if page.messages:
            await self._show(page, begin=page.low, at_oldest=False, at_newest=page.ended)
        else:
            self._page.high = max(self._page.high, page.high)
        if page.ended and not page.messages:
            self._set(at_newest=True, notice=f"there is nothing newer{self._that_matches()} yet")
        else:
            self._say_what_was_read(page, "newer")

    async def seek(self, when: Moment | None, seq: int | None) -> None:
        if (when is None) == (seq is None):
            raise ValueError("give time= or seq=, one of them")
        seq = None if seq is None else _whole(seq)
        since = moment("time", when, datetime.now(UTC))
        self._set(follow=False)
        if not self._chosen:
            return
        start = max(seq if seq is not None else 1, 1)
        page = await self._pager.forwards(self._chosen, self._filters, start, since=since)
        what = f"sequence {seq}" if since is None else f"{since:%Y-%m-%d %H:%M:%S} UTC"
        if page.ended and not page.messages:
            await self.newest()
            self._set(
                notice=f"nothing at {what} or later{self._that_matches()}; this is the newest page"
            )
            return
        first = page.low <= 1
        if not first:
            before = await self._history.select(self._chosen, end_seq=page.low - 1)
            first = before.count == 0
        await self._show(page, begin=page.low, at_oldest=first, at_newest=page.ended, since=since)
        self._say_what_was_read(page, "newer")
        if first and page.messages and not self._filters:
            begin = page.messages[0]
            asked = seq if since is None else int(since.timestamp() * 1e9)
            if asked is not None and asked < (begin.seq if since is None else begin.time_ns):
                self._set(notice=f"nothing is stored at {what} or before; this is the first page")

    async def filter(
        self,
        event_type: EventType | Iterable[EventType] | None,
        text: str | None,
        condition: str | None,
    ) -> None:
        now = self._filters
        types = now.event_types if event_type is None else _names(event_type)
        parsed = now.condition
        if condition is not None:
            parsed = Condition.parse(condition) if condition.strip() else None
        self._filters = Filters(types, now.text if text is None else text, parsed)
        self._set(
            event_types=types,
            text=self._filters.text,
            condition=parsed.source if parsed is not None else "",
        )
        await self._read_again()

    async def _read_again(self) -> None:
        """The page that begins where this one did."""
        model = self._model()
        if self._begin is None or not self._chosen or model is None or model.follow:
            await self.newest()
            return
        await self._forwards(self._begin, at_oldest=self._begin <= 1)
        if self._page.ended and not self._page.messages:
            await self.newest()

    async def _show(
        self,
        page: Page,
        *,
        begin: int | None,
        at_oldest: bool,
        at_newest: bool,
        from_newer: bool = False,
        since: datetime | None = None,
    ) -> None:
        frame = await asyncio.to_thread(self._frame, page)
        self._page, self._begin, self._since = page, begin, since
        self._learn_types(frame["event_type"].dropna().unique().tolist())
        self._set(
            from_newer=from_newer,
            page=frame,
            selected_seqs=[],
            at_oldest=at_oldest,
            at_newest=at_newest,
            code=self._code(),
        )

    def _frame(self, page: Page) -> pd.DataFrame:
        """The page's events, as the code that loads them gives them."""
        frame = page.frame(self._channel_of)
        return where(frame, tidy=True) if self._filters.on_values else frame

    def _code(self) -> str:
        first, last = self._page.low, self._page.high
        if messages := self._page.messages:
            first, last = messages[0].seq, messages[-1].seq
        return page_code(self._chosen, self._filters, first, last, self._since, self._stream)

    def code_of_rows(self, seqs: Sequence[int]) -> str:
        return rows_code(self._chosen, seqs, self._stream)

    def _learn_types(self, names: Iterable[str]) -> None:
        model = self._model()
        if model is not None:
            known = dict.fromkeys((*model.known_types, *names))
            self._set(known_types=tuple(sorted(known))[:_MAX_TYPES])

    def _that_matches(self) -> str:
        return " that matches the filters" if self._filters else ""

    def _say_what_was_read(self, page: Page, direction: str) -> None:
        """What to know about a page that is not full."""
        if len(page.messages) >= self._size:
            return
        notice = ""
        if not page.ended:
            notice = (
                f"{page.read:,} of {page.total:,} messages looked at, "
                f"{len(page.messages):,} found; '{direction}' goes on"
            )
        elif self._filters and not page.messages and page.total:
            notice = f"none of {page.total:,} messages matches the filters"
        condition = self._filters.condition
        if not page.messages and condition is not None and page.columns:
            unknown = [name for name in condition.columns if name not in page.columns | {"seq"}]
            for name in unknown[:1]:
                near = get_close_matches(name, page.columns, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                notice += f"; there is no column {name!r}{hint}"
        self._set(notice=notice)

    # The tail

    async def tail(self, on: bool) -> None:
        self._set(follow=on, received=0)
        if on:
            await self.newest()

    def _resume_tail(self) -> None:
        model = self._model()
        if model is None or not model.follow or not self._chosen:
            return
        settings, subjects = self._session.settings, list(self._chosen)
        if self._stream is None:
            subjects = [settings.subject_name(channel) for channel in self._chosen]
        self._fresh = deque(maxlen=self._size)
        self._tailing = asyncio.create_task(
            follow(
                weakref.ref(self),
                self._session.connection,
                self._stream or settings.stream_name,
                subjects,
                self._page.high + 1,
            ),
            name="explorer's tail",
        )

    async def arrived(self, messages: list[StoredMessage]) -> None:
        found = messages
        if self._filters:
            matches = await asyncio.to_thread(self._filters.matching, messages, self._channel_of)
            found = matches.messages
        self._fresh.extend(found)
        self._count += len(messages)
        self._page.high = messages[-1].seq

    def show_arrived(self) -> None:
        model = self._model()
        if model is None or not model.follow:
            return
        count, self._count = self._count, 0
        self._set(received=model.received + count)
        if not self._fresh:
            return
        fresh, self._fresh = self._fresh, deque(maxlen=self._size)
        before = self._page.messages
        kept = [*before, *fresh][-self._size :]
        whole = len(kept) == len(before) + len(fresh)
        page = Page(self._page.low if whole else kept[0].seq, self._page.high, kept)
        frame = self._frame(page)  # a page is short, and nothing may come between
        self._page, self._begin, self._since = page, None, None
        self._learn_types(frame["event_type"].dropna().unique().tolist())
        there = set(frame.index)
        self._set(
            code=self._code(),
            page=frame,
            at_newest=True,
            at_oldest=model.at_oldest and whole,
            selected_seqs=[seq for seq in model.selected_seqs if seq in there],
        )

    # Live rates

    def watch(self, on: bool) -> None:
        """Renew channels and rates in the background, or no longer; from any thread."""
        if not self._session.closed:
            self._session.loop.submit(self._watch(on))

    async def _watch(self, on: bool) -> None:
        await self._end(self._watching)
        if on:
            self._watching = asyncio.create_task(
                watch(weakref.ref(self), self._seen), name="explorer's rates"
            )

    def see(self, seen: bool) -> None:
        """Whether a view is in sight; what nobody sees is not renewed. From any thread."""
        if not self._session.closed:
            self._session.loop.submit(self._see(seen))

    async def _see(self, seen: bool) -> None:
        if seen and not self._seen.is_set():
            self._rates.leave_gap()
        (self._seen.set if seen else self._seen.clear)()

    async def look(self) -> None:
        frame = await self._load_channels()
        self._rates.add(dict(zip(frame.index, frame["per_second"], strict=True)))
        self._set(rates=self._rates.of(self._chosen))

    def trouble(self, problem: str | None) -> None:
        """Show what keeps a background task from its work, and clear it when it is over."""
        model = self._model()
        shown, self._trouble = self._trouble, f"{problem}; trying again" if problem else ""
        if model is None or self._session.closed or shown == self._trouble:
            return
        if self._trouble or model.error == shown:
            self._set(error=self._trouble)

    # One message, statistics, export

    async def open(self, seq: int) -> Message:
        seq = _whole(seq)
        stored = next((m for m in self._page.messages if m.seq == seq), None)
        stored = stored or await self._stored(seq)
        if stored is None:
            raise MessageNotFoundError(seq, self._chosen)
        message = message_of(stored, self._channel_of)
        self._set(message=message)
        return message

    async def _stored(self, seq: int) -> StoredMessage | None:
        if seq < 1 or not self._chosen:
            return None
        selection = await self._history.select(self._chosen, start_seq=seq, end_seq=seq)
        async with aclosing(self._history.batches(selection, page=1)) as batches:
            async for batch in batches:
                return batch[0]
        return None

    async def describe(self, limit: int) -> Statistics:
        if limit < 1:
            raise ValueError(f"limit={limit}: must be 1 or more")
        chosen, total = self._chosen, 0
        builder = StatisticsBuilder(self._channel_of)
        if chosen:
            async with aclosing(self._pager.newest(chosen, limit)) as batches:
                async for batch, total in batches:
                    await asyncio.to_thread(builder.add, batch)
                    self._on_progress(len(builder), min(total, limit))
        statistics = await asyncio.to_thread(builder.build, chosen, total)
        if chosen == self._chosen:
            self._set(statistics=statistics)
            self._learn_types(name for name in statistics.event_types.index if name[0] != "(")
        return statistics

    async def export(
        self,
        path: str | Path,
        format: Format | None,  # noqa: A002 - as in Explorer.export
        overwrite: bool,
    ) -> ExportResult:
        from varco_nats_widgets.export import export_channels

        filters = self._filters
        history: History = self._history
        if not self._chosen:
            raise ValueError("no channel is chosen; select one first")
        own = self._stream is None
        selected = frame_query(
            self._chosen if own else None,
            stream=self._stream,
            subject=None if own else self._chosen,
            event_type=filters.event_types or None,
        )
        query = FilteredQuery(
            **_as_dict(selected),
            text=filters.text,
            condition=filters.condition.source if filters.condition is not None else "",
        )
        if filters.on_values:
            history = FilteredHistory(history, filters, self._channel_of, self._on_progress)
        return await export_channels(
            history,
            self._channel_of,
            query,
            path,
            format=format,
            overwrite=overwrite,
            progress=self._on_progress,
        )


def _whole(seq: int) -> int:
    """A sequence, which may be one of numpy's integers, as a frame's index has them."""
    try:
        return operator.index(seq)
    except TypeError:
        raise ValueError(f"seq={seq!r}: a sequence is a whole number") from None


def _as_dict(query: FrameQuery) -> dict[str, Any]:
    return {one.name: getattr(query, one.name) for one in fields(query)}


def _names(event_type: EventType | Iterable[EventType]) -> tuple[str, ...]:
    if isinstance(event_type, str):
        return (clean(event_type),) if event_type else ()
    if isinstance(event_type, type):
        return (event_type.event_type_name(),)
    return tuple(dict.fromkeys(name for one in event_type for name in _names(one)))
