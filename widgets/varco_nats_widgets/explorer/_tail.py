"""The live tail of an explorer: shows messages at the end of the newest page as they are stored."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable

from varco_nats.history import Batch, StoredMessage
from varco_nats_widgets._session.background import follow
from varco_nats_widgets._session.session import Session
from varco_nats_widgets._session.worker import ModelReference, end_task
from varco_nats_widgets.explorer._pages import ExplorerTraits, Pages


class LiveTail:
    """Follows the chosen channels while the page is a live one.

    Args:
        on_problem: called with why nothing can come at the moment, and with None when it can again.
    """

    def __init__(
        self,
        model: ModelReference[ExplorerTraits],
        session: Session,
        pages: Pages,
        on_problem: Callable[[str | None], None],
    ) -> None:
        self._model = model
        self._session = session
        self._pages = pages
        self._new: deque[StoredMessage] = deque(maxlen=pages.size)  # not shown yet
        self._received = 0  # messages that came and are not counted yet
        self._task: asyncio.Task[None] | None = None
        self.on_problem = on_problem

    def resume(self) -> None:
        """Follow what comes after the page, if it is a live one."""
        model = self._model()
        if model is None or not model.follow:
            return
        self._new.clear()
        following = follow(
            weakref.ref(self),
            self._session.connection,
            self._pages.source.name,
            [*self._pages.subjects_read],
            self._pages.page.high + 1,
        )
        self._task = asyncio.create_task(following, name="explorer's tail")

    async def pause(self) -> None:
        """Follow no longer; what came is shown."""
        await self.end()
        self.show_new()

    async def end(self) -> None:
        await end_task(self._task)

    async def on_messages(self, messages: Batch) -> None:
        found, filters = messages, self._pages.filters
        if filters:
            matching = asyncio.to_thread(filters.matching, messages, self._pages.source.decoding)
            found, _ = await matching
        self._new.extend(found)
        self._received += len(messages)
        self._pages.page.high = messages[-1].seq

    def show_new(self) -> None:
        model = self._model()
        if model is None or not model.follow:
            return
        received, self._received = self._received, 0
        self._model.set(received=model.received + received)
        if self._new:
            new = list(self._new)
            self._new.clear()
            self._pages.append(new)
