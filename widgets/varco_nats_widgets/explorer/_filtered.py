"""A history in which only the messages that match filters are stored: for an export of those."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields, replace
from datetime import datetime

from varco_nats.history import Batch, History, Selection
from varco_nats.history._reader import PAGE
from varco_nats_widgets.explorer._paging import Filters
from varco_nats_widgets.frames._decoding import Decoding
from varco_nats_widgets.frames._query import FrameQuery, frame_query


@dataclass(frozen=True, slots=True)
class FilteredQuery(FrameQuery):
    """What an export of matching messages is about; another filter is another export."""

    text: str = ""
    condition: str = ""
    in_headers: bool = False


def filtered_query(channels: Sequence[str], stream: str | None, filters: Filters) -> FilteredQuery:
    """What is exported of channels, or of a stream's subjects; all of those if none is given."""
    own = stream is None
    query = frame_query(
        channels if own else None,
        stream=stream,
        subject=None if own or not channels else channels,
        event_type=filters.event_types or None,
        headers=filters.headers,
    )
    condition = filters.condition.source if filters.condition is not None else ""
    given = {field.name: getattr(query, field.name) for field in fields(query)}
    in_headers = bool(filters.text) and filters.in_headers
    return FilteredQuery(**given, text=filters.text, condition=condition, in_headers=in_headers)


class FilteredHistory(History):
    """What of `history` matches `filters`.

    Args:
        decoding: how messages are read.
        on_count: called with the messages looked at and how many there are, while matches are
            counted.
    """

    def __init__(
        self,
        history: History,
        filters: Filters,
        decoding: Decoding,
        on_count: Callable[[int, int], object],
    ) -> None:
        self._all = history
        self._filters = filters
        self._decoding = decoding
        self._on_count = on_count

    async def select(
        self,
        channels: str | Sequence[str] | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        start_seq: int | None = None,
        end_seq: int | None = None,
    ) -> Selection:
        """As `History.select`; reads everything once, to say how many match."""
        selection = await self._all.select(
            channels, since=since, until=until, start_seq=start_seq, end_seq=end_seq
        )
        read = count = 0
        async with aclosing(self._all.batches(selection)) as batches:
            async for batch in batches:
                read, count = read + len(batch), count + len(await self._matching(batch))
                self._on_count(read, selection.count)
        return replace(selection, count=count)

    async def batches(
        self, selection: Selection, *, newest_first: bool = False, page: int = PAGE
    ) -> AsyncGenerator[Batch]:
        """As `History.batches`."""
        read = self._all.batches(selection, newest_first=newest_first, page=page)
        async with aclosing(read) as batches:
            async for batch in batches:
                if found := await self._matching(batch):
                    yield found

    async def _matching(self, batch: Batch) -> Batch:
        found, _ = await asyncio.to_thread(self._filters.matching, batch, self._decoding)
        return found
