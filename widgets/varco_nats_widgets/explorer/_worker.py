"""What an `Explorer` does, as coroutines that run on its lab's loop thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pandas as pd

from varco_nats.errors import (
    PermissionDeniedError,
    ServerUnreachableError,
    StreamNotFoundError,
)
from varco_nats_widgets._session.background import ChannelRates, describe_error
from varco_nats_widgets._session.session import Session
from varco_nats_widgets._session.worker import Action, Running, Worker, end_task
from varco_nats_widgets.decoders import DecoderLike, decoder_of
from varco_nats_widgets.explorer._choice import first_look, has_all, lines, with_kinds
from varco_nats_widgets.explorer._condition_of import condition_of, joined_to
from varco_nats_widgets.explorer._filtered import FilteredHistory, filtered_query
from varco_nats_widgets.explorer._opened import OpenMessage
from varco_nats_widgets.explorer._pages import ExplorerTraits, Pages
from varco_nats_widgets.explorer._source import Source
from varco_nats_widgets.explorer._statistics import Statistics, StatisticsBuilder
from varco_nats_widgets.explorer._tail import LiveTail
from varco_nats_widgets.export import ExportResult, Format, export_channels

SCAN_LIMIT = 1_000_000
"""Messages a filter looks at for one page."""

PAGE = Action("page")
OPEN = Action("open")
DESCRIBE = Action("describe")
EXPORT = Action("export", "exporting", stop_cancels=True)

_CHANNELS_SECONDS = 2.0  # in which a page waits for the channels that it is chosen from
_REMEMBERED = 100  # channels whose rates are remembered, to be shown once one is chosen
_STOP_SECONDS = 5.0  # a busy machine takes its time for what was already read
_PROGRESS_SECONDS = 0.1


class ExplorerWorker(Worker[ExplorerTraits]):
    """The reading behind one `Explorer`. Work on the page, a message, statistics and an export
    go on side by side."""

    refreshing = PAGE

    def __init__(
        self,
        explorer: ExplorerTraits,
        session: Session,
        size: int,
        scan_limit: int,
        stream: str | None,
    ) -> None:
        super().__init__(explorer, session)
        source = Source(session, stream)
        self.pages = Pages(self.model, source, size, scan_limit, self._on_progress)
        self.opened = OpenMessage(self.model, self.pages)
        self._tail = LiveTail(self.model, session, self.pages, self.on_problem)
        self._may_list = True  # the streams
        self._loading: asyncio.Task[pd.DataFrame] | None = None  # the channels, if they take long
        self.model.set(stream=source.name)
        self._rates = ChannelRates()
        self._lost = ""  # the error that says that the server is lost
        self._progress_shown = 0.0
        self._forget: Callable[[], object] = session.connection.on_reconnect(self._on_reconnect)

    @property
    def noun(self) -> str:
        """What is chosen from: a `channel` or a `subject`."""
        return self.pages.source.noun

    # Actions

    async def _prepare(self, action: Action) -> None:
        self.model.set(error="", progress=(0, 0))
        self._progress_shown = 0.0
        if action is PAGE:
            await self._tail.pause()
            self.model.set(notice="")
        self.pages.pager.stop = False

    def _show_running(self) -> None:
        self.model.set(loading=PAGE.kind in self._running)
        super()._show_running()

    def _show_failure(self, error: Exception) -> None:
        super()._show_failure(error)
        self._lost = describe_error(error) if isinstance(error, ServerUnreachableError) else ""

    def _on_reconnect(self) -> None:
        """What the connection was the reason for is over; `retry` still does it again."""
        self.poll_now()
        model = self.model()
        if model is not None and model.error and model.error in (self._lost, self._problem):
            self._problem = ""
            self.model.set(error="")

    def _on_end(self, ended: Running) -> None:
        super()._on_end(ended)
        if ended.action is PAGE and PAGE.kind not in self._running and not self._session.closed:
            self._tail.resume()

    async def _stop(self) -> None:
        """End what runs: reading with what it has, an export at once."""
        self.pages.pager.stop = True
        await super()._stop()
        running = [each for each in self._running.values() if not each.action.stop_cancels]
        if tasks := [each.task for each in running if each.task is not None]:
            _, waiting = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
            for task in waiting:  # for a server that does not answer
                task.cancel()
                self.model.set(notice="stopped before the server answered")

    async def shut(self) -> None:
        self.model.set(follow=False)
        forget, self._forget = self._forget, lambda: None
        forget()
        await super().shut()
        await end_task(self._loading)
        await self._tail.end()

    def _on_progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._progress_shown > _PROGRESS_SECONDS or done >= total:
            self._progress_shown = now
            self.model.set(progress=(done, total))

    def condition(self, column: str, value: object, *, exclude: bool) -> str:
        """The condition of the page, and that a column has this value, or any other.

        Raises:
            NoConditionError: there is none that says so, or the value is masked.
        """
        masked = self.pages.source.decoding.mask is not None
        found = condition_of(column, value, exclude=exclude, masked=masked)
        parsed = self.pages.filters.condition
        return joined_to(parsed.source if parsed is not None else "", found)

    # Streams and channels

    async def begin(self) -> None:
        """Open on the stream of the settings, or on what there is instead."""
        self._may_list = True
        if (streams := await self._load_streams()) is not None:
            own = self._session.settings.stream_name
            name = first_look(streams, own)
            await self._show_choice(self._source_of(name), ())
            return
        try:
            await self._show_choice(self.pages.source, ())
        except (PermissionDeniedError, StreamNotFoundError):
            self.model.set(
                notice="this login may not list streams; name one that it may see: "
                "lab.explore(stream=…)"
            )
            raise

    async def refresh(self) -> None:
        self._may_list = True
        await self._load_streams()
        await self._load_channels()
        await self.pages.read_again()

    async def select(self, channels: Sequence[str], stream: str | None) -> None:
        source, known = self._source_of(stream), []
        if source is self.pages.source and (model := self.model()) is not None:
            known = model.channels.index.tolist()
        await self._show_choice(source, await source.choice(channels, known))
        if self._may_list and (model := self.model()) is not None and model.streams.empty:
            await self._load_streams()

    def _source_of(self, stream: str | None) -> Source:
        """What is looked at in a stream; None is the one that is shown."""
        shown = self.pages.source
        if stream is None or stream == shown.name:
            return shown
        own = stream == self._session.settings.stream_name
        return Source(self._session, None if own else stream)

    async def _show_choice(self, source: Source, chosen: tuple[str, ...]) -> None:
        """Show the newest page of what is chosen, and then the channels it is chosen from."""
        await end_task(self._loading)
        self.model.set(chosen=chosen, known_types=(), statistics=None, received=0)
        self.opened.close()
        if source is not self.pages.source:
            self.pages.look_at(source)
            self.model.set(stream=source.name, channels=pd.DataFrame())
            self.model.set(event_types=(), text="", condition="", in_headers=False, decoder="")
            self.pages.show_nothing()
        await self.pages.newest()
        model = self.model()
        if model is None or (not model.channels.empty and has_all(model.channels.index, chosen)):
            self._show_rates()
            return
        self._loading = asyncio.create_task(self._load_channels(), name="explorer's channels")
        await asyncio.wait([self._loading], timeout=_CHANNELS_SECONDS)
        if self._loading.done():
            self._loading.result()
            self._show_rates()

    def _show_rates(self) -> None:
        model = self.model()
        if model is not None and not model.channels.empty:
            shown = lines(model.channels["per_second"], model.chosen)
            self.model.set(rates=self._rates.of(shown))

    async def read_as(self, decoder: DecoderLike | None) -> None:
        name = "" if decoder is None else decoder_of(decoder).name
        self.model.set(decoder=name, known_types=(), statistics=None)
        self.opened.close()
        await self.pages.read_as(decoder)

    async def _load_streams(self) -> pd.DataFrame | None:
        """The streams there are; None where this login may not list them."""
        if not self._may_list:
            return None
        try:
            frame = await self._session.view.streams()
        except PermissionDeniedError:
            self._may_list = False
            return None
        frame = with_kinds(frame, self._session.settings.stream_name)
        model, shown = self.model(), self.pages.source.name
        gone = model is not None and shown in model.streams.index and shown not in frame.index
        self.model.set(streams=frame)
        if gone:
            raise StreamNotFoundError(shown, frame.index.tolist())
        return frame

    async def _load_channels(self) -> pd.DataFrame:
        source = self.pages.source
        frame = await self._session.read(self._session.view.channels(source.stream))
        if source is self.pages.source:
            self.model.set(channels=frame)
        return frame

    async def tail(self, on: bool) -> None:
        self.model.set(follow=on, received=0)
        if on:
            await self.pages.newest()

    async def poll(self) -> None:
        await self._load_streams()
        rates = (await self._load_channels())["per_second"]
        shown = lines(rates, self.pages.chosen)
        each = dict(zip(rates.index, rates, strict=True)) if len(rates) <= _REMEMBERED else {}
        self._rates.add(each | shown)
        self.model.set(rates=self._rates.of(shown))

    def set_visible(self, visible: bool) -> None:
        """Say whether a view is in sight; for one that is not, nothing is polled."""
        self._submit(partial(self._set_visible, visible))

    async def _set_visible(self, visible: bool) -> None:
        if visible and not self._visible.is_set():
            self._rates.leave_gap()
        (self._visible.set if visible else self._visible.clear)()

    # Statistics, export

    async def describe(self, limit: int) -> Statistics:
        if limit < 1:
            raise ValueError(f"limit={limit}: must be 1 or more")
        pages, channels, total = self.pages, self.pages.chosen, 0
        source, pager = pages.source, pages.pager
        builder = StatisticsBuilder(source.decoding)
        async with aclosing(pager.newest(await source.subjects(channels), limit)) as batches:
            async for batch, total in batches:
                await asyncio.to_thread(builder.add, batch)
                self._on_progress(len(builder), min(total, limit))
        statistics = await asyncio.to_thread(builder.build, channels, total)
        if (channels, source) == (pages.chosen, pages.source):
            self.model.set(statistics=statistics)
            pages.add_types(name for name in statistics.event_types.index if name[0] != "(")
        return statistics

    async def export(
        self,
        path: str | Path,
        format: Format | None,  # noqa: A002 - as in Explorer.export
        overwrite: bool,
    ) -> ExportResult:
        source, filters = self.pages.source, self.pages.filters
        decoding = source.decoding
        history, names = await source.exported(self.pages.chosen)
        query = filtered_query(names, source.stream, filters)
        if filters.on_values:
            history = FilteredHistory(history, filters, decoding, self._on_progress)
        return await export_channels(
            history,
            decoding,
            query,
            path,
            format=format,
            overwrite=overwrite,
            progress=self._on_progress,
        )
