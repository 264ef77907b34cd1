"""Reading a channel page by page, with filters that look further than the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd

from varco_nats.history import Batch, History, Selection, StoredMessage
from varco_nats_widgets.frames import FrameBuilder
from varco_nats_widgets.frames._conditions import Condition, has_text
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._headers import Headers

_SCAN = 2000  # messages in one step of a filtered read
_MAX_BYTES = 64 * 1024 * 1024  # of the payloads of one page


@dataclass(frozen=True, slots=True)
class Filters:
    """Which messages of a channel are shown."""

    event_types: tuple[str, ...] = ()
    text: str = ""
    condition: Condition | None = None
    in_headers: bool = False
    """Whether the text may be in a header too."""

    def __bool__(self) -> bool:
        return bool(self.event_types or self.text or self.condition)

    @property
    def on_values(self) -> bool:
        """Whether it takes more than the event type to know."""
        return bool(self.text or self.condition)

    @property
    def headers(self) -> Headers:
        """The headers that a frame must have for them; the page shows those."""
        if self.text and self.in_headers:
            return True
        return self.condition.headers if self.condition is not None else False

    def matching(self, messages: Batch, decoding: Decoding) -> tuple[Batch, frozenset[str]]:
        """Those that match, and which columns there were."""
        builder = FrameBuilder(decoding, self.event_types or None, headers=self.headers)
        builder.add(messages)
        frame = builder.build()
        columns = frozenset(frame.columns)
        if self.condition is not None:
            frame = frame[self.condition.mask(frame)]
        if self.text:
            frame = frame[has_text(frame, self.text, in_headers=self.in_headers)]
        wanted = set(frame.index)
        return Batch.of(message for message in messages if message.seq in wanted), columns


@dataclass(slots=True)
class Page:
    """Messages in order of their sequences, and what was read to find them."""

    low: int
    """Lowest sequence that was looked at."""
    high: int
    """Highest sequence that was looked at."""
    messages: list[StoredMessage] = field(default_factory=list)
    read: int = 0
    """How many messages were looked at."""
    total: int = 0
    """How many there were to look at."""
    ended: bool = False
    """Whether there are no more in this direction."""
    columns: frozenset[str] = frozenset()
    """Columns of the messages that a filter looked at."""

    def frame(self, decoding: Decoding, headers: Headers = False) -> pd.DataFrame:
        """The messages as a frame of events."""
        builder = FrameBuilder(decoding, headers=headers)
        builder.add(self.messages)
        return builder.build()


class Pager:
    """Reads pages of some channels.

    Args:
        history: where from; started.
        decoding: how messages are read.
        size: messages of a page.
        scan_limit: messages looked at for one page.
    """

    def __init__(self, history: History, decoding: Decoding, size: int, scan_limit: int) -> None:
        self._history = history
        self.decoding = decoding
        self._size = size
        self._scan_limit = scan_limit
        self.stop = False
        """Set it to have a page end with what was found so far."""
        self.on_progress: Callable[[int, int], object] = lambda read, total: None

    async def forwards(
        self,
        channels: Sequence[str],
        filters: Filters,
        start_seq: int = 1,
        *,
        since: datetime | None = None,
    ) -> Page:
        """The page that begins at `start_seq`, or at what was stored at `since`."""
        selection = await self._history.select(channels, since=since, start_seq=start_seq)
        first = start_seq if since is None else selection.first_seq
        page = Page(first, max(first - 1, selection.last_seq), total=selection.count)
        await self._collect(selection, filters, page, newest_first=False)
        return page

    async def backwards(
        self, channels: Sequence[str], filters: Filters, end_seq: int | None = None
    ) -> Page:
        """The page that ends at `end_seq`, or at the newest message."""
        selection = await self._history.select(channels, end_seq=end_seq)
        last = selection.last_seq if end_seq is None else end_seq
        page = Page(min(selection.first_seq, last + 1), last, total=selection.count)
        await self._collect(selection, filters, page, newest_first=True)
        page.messages.reverse()
        return page

    async def newest(
        self, channels: Sequence[str], limit: int
    ) -> AsyncGenerator[tuple[Batch, int]]:
        """The newest messages in batches, newest first, each with how many there are in all."""
        selection = await self._history.select(channels)
        read = self._history.batches(selection, newest_first=True, page=min(limit, _SCAN))
        left = limit
        async with aclosing(read) as batches:
            async for batch in batches:
                yield batch[:left], selection.count
                left -= len(batch)
                if left <= 0 or self.stop:
                    return

    async def _collect(
        self, selection: Selection, filters: Filters, page: Page, *, newest_first: bool
    ) -> None:
        """Fill the page in the order of reading, up to the last message that was looked at."""
        steps = _SCAN if filters else self._size
        left = _MAX_BYTES
        read = self._history.batches(selection, newest_first=newest_first, page=steps)
        async with aclosing(read) as batches:
            async for batch in batches:
                found = batch
                if filters:  # decoding is work for a thread: the loop serves handlers meanwhile
                    matching = asyncio.to_thread(filters.matching, batch, self.decoding)
                    found, columns = await matching
                    page.columns |= columns
                reached = batch[-1].seq
                for message in found:
                    page.messages.append(message)
                    left -= len(message.data)
                    if len(page.messages) >= self._size or left <= 0:
                        reached = message.seq
                        break
                full = len(page.messages) >= self._size or left <= 0
                page.read += len(batch)
                self.on_progress(page.read, page.total)
                if page.read >= page.total and reached == batch[-1].seq:
                    break
                if full or self.stop or page.read >= self._scan_limit:
                    if newest_first:
                        page.low = reached
                    else:
                        page.high = reached
                    return
        page.ended = True
