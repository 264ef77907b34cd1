"""What a `Lab` does, as coroutines that run on its loop thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Coroutine
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any

import pandas as pd
from nats.errors import Error as NatsError
from varco_core.event.base import CHANNEL_ALL

from varco_nats._client import Connection, connect
from varco_nats._durable import ensure_durable
from varco_nats._reader import PAGE
from varco_nats.bus import NatsEventBus
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import StreamNotFoundError, UnknownChannelError
from varco_nats.history import History, Selection
from varco_nats.server import LocalNats
from varco_nats_widgets._loop import LoopThread
from varco_nats_widgets._query import FrameQuery
from varco_nats_widgets.frames import FrameBuilder

_logger = logging.getLogger("varco_nats")

_DURABLE_SECONDS = 600.0  # how long the durable of a killed kernel stays on the server
_CLOSE_SECONDS = 5.0
_POLL_SECONDS = 0.01


class Session:
    """The connections and the loop thread of one `Lab`."""

    def __init__(
        self, settings: NatsEventBusSettings, label: str, local: LocalNats | None = None
    ) -> None:
        drain = min(settings.drain_timeout_seconds, _CLOSE_SECONDS)
        self.settings = settings.model_copy(
            # a durable of its own: with a service's name it would take that service's messages
            update={"durable_name": f"lab-{uuid.uuid4().hex[:8]}", "drain_timeout_seconds": drain}
        )
        self.label = label
        self.closed = False
        self.loop = LoopThread(f"Lab({label})")
        self.consumed: set[str] = set()
        self._local = local
        self._connection: Connection | None = None
        self._history: History | None = None
        self._bus: NatsEventBus | None = None
        self._bus_lock = threading.Lock()

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop thread and wait, from any other thread."""
        self._check_open(coroutine)
        return self.loop.run(coroutine)

    async def hop[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the loop thread and await it, from any loop."""
        self._check_open(coroutine)
        if self.loop.is_current:
            return await coroutine
        return await asyncio.wrap_future(self.loop.submit(coroutine))

    def _check_open(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        if self.closed:
            coroutine.close()
            raise RuntimeError("this Lab is closed; make a new one with Lab()")

    async def open(self) -> None:
        self._connection = await connect(self.settings, name="varco-lab")
        self._history = History(self.settings, connection=self._connection)
        await self._history.start()

    def shut(self) -> None:
        """Release everything; more than one call does nothing."""
        if self.closed:
            return
        if self.loop.is_current:  # garbage was collected on the very thread that has to end
            threading.Thread(target=self.shut, name="Lab closing").start()
            return
        self.closed = True
        try:
            self.loop.run(self._close())
        finally:
            self.loop.close()
            if self._local is not None:
                self._local.close()

    async def _close(self) -> None:
        for step in (self._stop_bus, self._stop_history, self._delete_durables, self._disconnect):
            try:
                await step()
            except Exception:  # the steps after it must still be taken
                _logger.warning("Lab(%s) did not close cleanly", self.label, exc_info=True)

    async def _stop_bus(self) -> None:
        if self._bus is not None:
            await self._bus.stop()

    async def _stop_history(self) -> None:
        if self._history is not None:
            await self._history.stop()

    async def _delete_durables(self) -> None:
        if self._connection is None or not self._connection.is_connected:
            return
        with suppress(NatsError, TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                for channel in self.consumed:
                    await self._connection.js.delete_consumer(
                        self.settings.stream_name, self.settings.durable_for(channel)
                    )

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    # The bus

    def bus(self) -> NatsEventBus:
        """The bus, started when it is first asked for."""
        with self._bus_lock:
            if self._bus is None:
                self._bus = self.run(self._start_bus())
            return self._bus

    async def _start_bus(self) -> NatsEventBus:
        bus = NatsEventBus(self.settings)
        await bus.start()
        return bus

    async def expire_durable(self, channel: str) -> None:
        """Create the channel's durable so that it goes away when this process is killed."""
        if channel == CHANNEL_ALL or channel in self.consumed:
            return
        assert self._connection is not None
        info = await ensure_durable(self._connection, self.settings, channel)
        await self._connection.js.add_consumer(
            self.settings.stream_name, replace(info.config, inactive_threshold=_DURABLE_SECONDS)
        )
        self.consumed.add(channel)

    async def drain(self, timeout: float) -> None:
        assert self._connection is not None
        until = time.monotonic() + timeout
        for channel in sorted(self.consumed):
            durable = self.settings.durable_for(channel)
            while True:
                info = await self._connection.js.consumer_info(self.settings.stream_name, durable)
                waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
                if not waiting:
                    break
                if time.monotonic() > until:
                    raise TimeoutError(
                        f"{waiting} messages of channel {channel!r} were not handled "
                        f"within {timeout:g} s"
                    )
                await asyncio.sleep(_POLL_SECONDS)

    # Looking

    async def channels(self) -> pd.DataFrame:
        assert self._history is not None
        try:
            found = await self._history.channels()
        except StreamNotFoundError:
            found = []
        index = pd.Index([one.channel for one in found], name="channel", dtype="str")
        times = {
            name: pd.to_datetime([getattr(one, f"{name}_ns") for one in found], utc=True)
            for name in ("first_time", "last_time")
        }
        numbers = {
            name: pd.array([getattr(one, name) for one in found], dtype="int64")
            for name in ("messages", "first_seq", "last_seq")
        }
        return pd.DataFrame({**numbers, **times}, index=index)

    async def frame(self, query: FrameQuery) -> pd.DataFrame:
        assert self._history is not None
        await self._require(query.channels)
        selection = await self._history.select(
            query.channels,
            since=query.since,
            until=query.until,
            start_seq=query.start_seq,
            end_seq=query.end_seq,
        )
        builder = FrameBuilder(self.settings.channel_from_subject, query.event_types)
        page = PAGE if query.limit is None else min(query.limit, PAGE)
        read = self._history.batches(selection, newest_first=query.newest_first, page=page)
        async with aclosing(read) as batches:
            async for batch in batches:
                # decoding is work for a thread: the loop serves handlers meanwhile
                await asyncio.to_thread(builder.add, batch, query.limit)
                if query.limit is not None and len(builder) >= query.limit:
                    break
        frame = await asyncio.to_thread(builder.build)
        frame.attrs["completeness"] = _completeness(selection, builder, query.limit)
        return frame

    async def _require(self, channels: tuple[str, ...]) -> None:
        assert self._history is not None
        try:
            for channel in channels:
                if not await self._history.count(channel):
                    raise UnknownChannelError(channel, await self._history.names())
        except StreamNotFoundError:
            raise UnknownChannelError(channels[0], []) from None


def _completeness(
    selection: Selection, builder: FrameBuilder, limit: int | None
) -> dict[str, int | str | None]:
    """The verdict on whether a frame holds all that was asked for; plain, so that it is saved."""
    loaded = len(builder) + builder.filtered
    cut = limit is not None and len(builder) >= limit and loaded < selection.count
    expected = max(selection.count, loaded)
    return {
        "expected": expected,
        "loaded": loaded,
        "filtered": builder.filtered,
        "gaps": 0 if cut else expected - loaded,
        "truncated_by": "limit" if cut else None,
    }
