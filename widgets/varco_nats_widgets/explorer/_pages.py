"""The pages of an explorer: which one is shown, and how to get to another."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import pandas as pd

from varco_nats.errors import StreamNotFoundError
from varco_nats.history import StoredMessage
from varco_nats_widgets._session.worker import ModelReference, TraitsModel
from varco_nats_widgets.decoders import DecoderLike
from varco_nats_widgets.explorer._code import Place, page_code, rows_code
from varco_nats_widgets.explorer._paging import Filters, Page, Pager
from varco_nats_widgets.explorer._source import Source
from varco_nats_widgets.frames._columns import clean
from varco_nats_widgets.frames._conditions import Condition, where
from varco_nats_widgets.frames._message import Message
from varco_nats_widgets.frames._query import EventType, Moment, moment

_MAX_TYPES = 500


class ExplorerTraits(TraitsModel, Protocol):
    """The traits of an `Explorer` that its worker reads; it sets these and others."""

    streams: pd.DataFrame
    channels: pd.DataFrame
    chosen: tuple[str, ...]
    known_types: tuple[str, ...]
    selected_seqs: list[int]
    at_oldest: bool
    follow: bool
    received: int
    page: pd.DataFrame
    message: Message | None


class Pages:
    """The page that is shown, and the ways to others.

    Args:
        size: messages on a page.
        scan_limit: messages a filter looks at for one page.
        on_progress: called with the messages looked at and how many there are.
    """

    def __init__(
        self,
        model: ModelReference[ExplorerTraits],
        source: Source,
        size: int,
        scan_limit: int,
        on_progress: Callable[[int, int], object],
    ) -> None:
        self._model = model
        self.size = size
        self._scan_limit = scan_limit
        self._on_progress = on_progress
        self.look_at(source)

    def look_at(self, source: Source) -> None:
        """Have pages of another stream from now on, of which none is shown yet."""
        self.source = source
        self.pager = Pager(source.history, source.decoding, self.size, self._scan_limit)
        self.pager.on_progress = self._on_progress
        self.filters = Filters()
        self.subjects_read: tuple[str, ...] = ()
        self.page = Page(1, 0)
        self._begin: int | None = None  # where the page begins; None for the newest page
        self._since: datetime | None = None  # the time that was asked for

    @property
    def chosen(self) -> tuple[str, ...]:
        """The channels that are looked at; all of them if it is empty."""
        model = self._model()
        return model.chosen if model is not None else ()

    async def subjects(self) -> tuple[str, ...]:
        """The subjects to read, which are those of the page from then on."""
        self.subjects_read = await self.source.subjects(self.chosen)
        return self.subjects_read

    # Going to a page

    async def read_as(self, decoder: DecoderLike | None) -> None:
        self.source.read_as(decoder)
        self.pager.decoding = self.source.decoding
        await self.read_again()

    async def newest(self) -> None:
        try:
            page = await self.pager.backwards(await self.subjects(), self.filters)
        except StreamNotFoundError:
            if self.source.stream is not None or self.page.messages:
                raise
            page = Page(1, 0, ended=True)  # the stream comes with the first message
        await self._show(page, begin=None, at_oldest=page.ended, at_newest=True, from_newer=True)
        self._explain_gap(page, "older")

    async def oldest(self) -> None:
        self._model.set(follow=False)
        await self._forwards(1, at_oldest=True)

    async def _forwards(self, start: int, *, at_oldest: bool) -> None:
        page = await self.pager.forwards(await self.subjects(), self.filters, start)
        await self._show(page, begin=start, at_oldest=at_oldest, at_newest=page.ended)
        self._explain_gap(page, "newer")

    async def older(self) -> None:
        self._model.set(follow=False)
        low = self.page.low
        page = Page(low, low, ended=True)
        if low > 1:
            page = await self.pager.backwards(await self.subjects(), self.filters, low - 1)
        if page.messages:
            begin, first = page.low, page.ended
            await self._show(page, begin=begin, at_oldest=first, at_newest=False, from_newer=True)
        elif page.ended:
            self._model.set(at_oldest=True, notice=f"there is nothing older{self._that_matches()}")
            return
        self.page.low = page.low
        self._explain_gap(page, "older")

    async def newer(self) -> None:
        start = self.page.high + 1
        page = await self.pager.forwards(await self.subjects(), self.filters, start)
        if page.messages:
            await self._show(page, begin=page.low, at_oldest=False, at_newest=page.ended)
        else:
            self.page.high = max(self.page.high, page.high)
        if page.ended and not page.messages:
            notice = f"there is nothing newer{self._that_matches()} yet"
            self._model.set(at_newest=True, notice=notice)
        else:
            self._explain_gap(page, "newer")

    async def seek(self, time: Moment | None, seq: int | None) -> None:
        if (time is None) == (seq is None):
            raise ValueError("give time= or seq=, one of them")
        seq = None if seq is None else whole_sequence(seq)
        since = moment("time", time, datetime.now(UTC))
        self._model.set(follow=False)
        start = max(seq if seq is not None else 1, 1)
        subjects = await self.subjects()
        page = await self.pager.forwards(subjects, self.filters, start, since=since)
        place = f"sequence {seq}" if since is None else f"{since:%Y-%m-%d %H:%M:%S} UTC"
        if page.ended and not page.messages:
            await self.newest()
            self._model.set(
                notice=f"nothing at {place} or later{self._that_matches()}; this is the newest page"
            )
            return
        first = page.low <= 1
        if not first:
            before = await self.source.history.select(subjects, end_seq=page.low - 1)
            first = before.count == 0
        await self._show(page, begin=page.low, at_oldest=first, at_newest=page.ended, since=since)
        self._explain_gap(page, "newer")
        if first and page.messages and not self.filters:
            oldest = page.messages[0]
            begins = oldest.seq if since is None else oldest.time_ns
            wanted = seq if since is None else int(since.timestamp() * 1e9)
            if wanted is not None and wanted < begins:
                notice = f"nothing is stored at {place} or before; this is the first page"
                self._model.set(notice=notice)

    async def filter(
        self,
        event_type: EventType | Iterable[EventType] | None,
        text: str | None,
        condition: str | None,
        in_headers: bool | None = None,
    ) -> None:
        now = self.filters
        types = now.event_types if event_type is None else _names(event_type)
        parsed = now.condition
        if condition is not None:
            parsed = Condition.parse(condition) if condition.strip() else None
        wider = now.in_headers if in_headers is None else in_headers
        self.filters = Filters(types, now.text if text is None else text, parsed, wider)
        self._model.set(
            event_types=types,
            text=self.filters.text,
            in_headers=self.filters.in_headers,
            condition=parsed.source if parsed is not None else "",
        )
        await self.read_again()

    async def read_again(self) -> None:
        """Show the page that begins where this one did."""
        model = self._model()
        if self._begin is None or model is None or model.follow:
            await self.newest()
            return
        await self._forwards(self._begin, at_oldest=self._begin <= 1)
        if self.page.ended and not self.page.messages:
            await self.newest()

    # Showing it

    def show_nothing(self) -> None:
        """Take the page away, as it is not of what is looked at now."""
        self._model.set(selected_seqs=[], code="", page=self._frame(self.page))

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
        self.page, self._begin, self._since = page, begin, since
        self.add_types(frame["event_type"].dropna().unique().tolist())
        self._model.set(
            from_newer=from_newer,
            selected_seqs=[],
            at_oldest=at_oldest,
            at_newest=at_newest,
            code=self._code(),
            page=frame,
        )

    def append(self, messages: Iterable[StoredMessage]) -> None:
        """Show these, which came after those on the page; what has no room falls out."""
        model = self._model()
        if model is None:
            return
        together = [*self.page.messages, *messages]
        kept = together[-self.size :]
        whole = len(kept) == len(together)
        page = Page(self.page.low if whole else kept[0].seq, self.page.high, kept)
        frame = self._frame(page)  # a page is short, and nothing may come between
        self.page, self._begin, self._since = page, None, None
        self.add_types(frame["event_type"].dropna().unique().tolist())
        shown = set(frame.index)
        self._model.set(
            selected_seqs=[seq for seq in model.selected_seqs if seq in shown],
            at_oldest=model.at_oldest and whole,
            at_newest=True,
            code=self._code(),
            page=frame,  # last: whoever sees it finds the rest
        )

    def _frame(self, page: Page) -> pd.DataFrame:
        """The page's events, as the code that loads them gives them."""
        frame = page.frame(self.source.decoding, self.filters.headers)
        return where(frame, tidy=True) if self.filters.on_values else frame

    def _code(self) -> str:
        first, last = self.page.low, self.page.high
        if messages := self.page.messages:
            first, last = messages[0].seq, messages[-1].seq
        return page_code(self._place(), self.filters, first, last, self._since)

    def code_of_rows(self, seqs: Sequence[int]) -> str:
        return rows_code(self._place(), seqs)

    def _place(self) -> Place:
        return self.source.place(self.chosen, self.subjects_read, self.page.messages)

    def add_types(self, names: Iterable[str]) -> None:
        """Remember event types that were seen."""
        if (model := self._model()) is not None:
            known = dict.fromkeys((*model.known_types, *names))
            self._model.set(known_types=tuple(sorted(known))[:_MAX_TYPES])

    def _that_matches(self) -> str:
        return " that matches the filters" if self.filters else ""

    def _explain_gap(self, page: Page, direction: str) -> None:
        """Say why a page is not full."""
        notice = self.source.decoding.notice
        if len(page.messages) >= self.size:
            if notice:
                self._model.set(notice=notice)
            return
        if not page.ended:
            notice = (
                f"{page.read:,} of {page.total:,} messages looked at, "
                f"{len(page.messages):,} found; '{direction}' goes on"
            )
        elif self.filters and not page.messages and page.total:
            notice = f"none of {page.total:,} messages matches the filters"
        condition = self.filters.condition
        if not page.messages and condition is not None and page.columns:
            unknown = condition.unknown(page.columns)
            notice += f"; {unknown}" if unknown else ""
        self._model.set(notice=notice)


def whole_sequence(seq: int) -> int:
    """A sequence, which may be one of numpy's integers, as a frame's index has them."""
    try:
        return operator.index(seq)
    except TypeError:
        raise ValueError(f"seq={seq!r}: a sequence is a whole number") from None


def _names(event_type: EventType | Iterable[EventType]) -> tuple[str, ...]:
    if isinstance(event_type, str):
        return (clean(event_type),) if event_type else ()
    if isinstance(event_type, type):
        return (event_type.event_type_name(),)
    return tuple(dict.fromkeys(name for part in event_type for name in _names(part)))
