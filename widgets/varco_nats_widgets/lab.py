"""`Lab`: the way in from a notebook."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

import pandas as pd
from varco_core.event.base import (
    CHANNEL_ALL,
    CHANNEL_DEFAULT,
    AbstractEventBus,
    Event,
    Subscription,
)

from varco_nats._publisher import PubAck
from varco_nats.config import NatsEventBusSettings, without_credentials
from varco_nats.connection import NatsConnectionSettings
from varco_nats.observe import Observation, Observer
from varco_nats.server import LocalNats
from varco_nats_widgets._query import EventType, Moment, frame_query
from varco_nats_widgets._session import Session

_SERVERS_VARIABLE = "VARCO_NATS_SERVERS"


class Lab:
    """A server to look at and to play with: its channels as DataFrames, and a bus.

    `Lab()` connects to the servers in `VARCO_NATS_SERVERS`, or starts a local server where that
    is not set. `Lab("nats://host:4222")` connects there; both log in as `NATS_*` variables say
    (see `NatsConnectionSettings`). `Lab(settings)` takes everything from the settings.

    It does its network work on a thread of its own, so that a busy cell stalls nothing. Methods
    are plain: `lab.frame("orders")`. Each has an awaitable twin of the same name under `aio`, for
    any event loop: `await lab.aio.frame("orders")`.

    Looking disturbs nobody: nothing is acknowledged or taken from a service. Handlers that are
    registered on `lab.bus` consume through durables of their own, named `lab-` and a random
    number whatever `durable_name` the settings have, so that they too get every message and take
    none away. They are deleted by `close()`; those of a killed kernel expire after 10 minutes.

    Args:
        server: URLs joined by `,`, or settings; None as above.

    Raises:
        ServerUnreachableError, AuthenticationError, JetStreamUnavailableError: no use of the
            server; nothing is left behind.
        ServerBinaryNotFoundError, LocalServerError: no local server could be started.

    Example:
        lab = Lab()
        lab.channels()
        lab.frame("orders", last="10m")
        lab.close()
    """

    def __init__(self, server: str | NatsEventBusSettings | None = None) -> None:
        settings, local = _resolve(server)
        urls = ",".join(without_credentials(url) for url in settings.to_servers_list())
        try:
            session = Session(settings, "local server" if local else urls, local)
            self._handle = _Handle(session)
            self._session = session
            session.run(session.open())
        except BaseException:
            if hasattr(self, "_handle"):
                self.close()
            elif local is not None:
                local.close()
            raise
        self._bus: LabBus | None = None
        self.aio = LabAio(self._handle)
        """The awaitable twins of this object's methods."""

    def __repr__(self) -> str:
        return f"Lab({self._session.label}{', closed' if self._session.closed else ''})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def settings(self) -> NatsEventBusSettings:
        """The settings in use, with this Lab's own `durable_name`."""
        return self._session.settings

    @property
    def bus(self) -> LabBus:
        """The event bus, started when first asked for; `Lab` says who gets the messages."""
        if self._bus is None:
            self._session.bus()
            self._bus = LabBus(self._handle)
        return self._bus

    def channels(self) -> pd.DataFrame:
        """The channels that hold messages.

        Returns:
            Index `channel`; columns `messages`, `first_seq`, `last_seq`, `first_time`,
            `last_time` (UTC).
        """
        return self._session.run(self._session.channels())

    def frame(
        self,
        channel: str | Iterable[str],
        *,
        last: timedelta | str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        start_seq: int | None = None,
        end_seq: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        event_type: EventType | Iterable[EventType] | None = None,
    ) -> pd.DataFrame:
        """The events stored in a channel, or in several together.

        Args:
            channel: one name or several.
            last: stored within this time until now: `"10m"`, `"2h"`, a timedelta.
            since: stored then or later: a datetime with its zone, text (`"2026-05-01 10:00"`,
                UTC unless it says otherwise), or how long ago (`"10m"`, a timedelta).
            until: stored before then.
            start_seq: lowest stream sequence, included.
            end_seq: highest stream sequence, included.
            limit: at most this many rows.
            newest_first: rows from the newest to the oldest; with `limit`, the newest ones.
            event_type: only events of this type or these, by class or name.

        Returns:
            Index `seq`, the stream sequence; columns `stored_at`, `channel`, `event_type`,
            `event_id`, `timestamp`, then the payload's fields, nested ones as `outer.inner`, one
            whose name is taken as `data.<name>`. Times are UTC. A row that is no JSON object has
            `decode_error` and `raw`, its bytes. `frame.attrs["completeness"]` has `expected`
            (messages there were), `loaded`, `filtered` (left out by `event_type`), `gaps`
            (messages that went while it was read) and `truncated_by` (`"limit"` or None).

        Raises:
            UnknownChannelError: a channel holds no messages; names those that do.
            InvalidChannelError: no channel can have that name.
            ValueError: another argument that cannot be read.
        """
        query = frame_query(
            channel,
            last=last,
            since=since,
            until=until,
            start_seq=start_seq,
            end_seq=end_seq,
            limit=limit,
            newest_first=newest_first,
            event_type=event_type,
        )
        return self._session.run(self._session.frame(query))

    def close(self) -> None:
        """Disconnect, delete this Lab's durables, end its thread and its local server.

        Running handlers get up to 5 s to finish. Closing twice does nothing.
        """
        self._handle.close()


class _Handle:
    """What a `Lab` and its `bus` and `aio` share: when the last is garbage, the session ends."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.close = weakref.finalize(self, session.shut)


class LabAio:
    """The methods of `Lab`, to be awaited on any event loop."""

    def __init__(self, handle: _Handle) -> None:
        self._handle = handle
        self._session = handle.session

    def __repr__(self) -> str:
        return f"Lab({self._session.label}).aio"

    async def channels(self) -> pd.DataFrame:
        """See `Lab.channels`."""
        return await self._session.hop(self._session.channels())

    async def frame(
        self,
        channel: str | Iterable[str],
        *,
        last: timedelta | str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        start_seq: int | None = None,
        end_seq: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        event_type: EventType | Iterable[EventType] | None = None,
    ) -> pd.DataFrame:
        """See `Lab.frame`."""
        query = frame_query(
            channel,
            last=last,
            since=since,
            until=until,
            start_seq=start_seq,
            end_seq=end_seq,
            limit=limit,
            newest_first=newest_first,
            event_type=event_type,
        )
        return await self._session.hop(self._session.frame(query))

    async def close(self) -> None:
        """See `Lab.close`."""
        await asyncio.to_thread(self._handle.close)


class LabBus(AbstractEventBus):
    """The bus of a `Lab`, usable from any thread and any event loop.

    Handlers run on the lab's thread: a blocking one holds up the others, and in one it is
    `await lab.aio.frame(...)`, not `lab.frame(...)`.
    """

    def __init__(self, handle: _Handle) -> None:
        self._handle = handle
        self._session = handle.session

    def __repr__(self) -> str:
        return f"LabBus({self._session.label})"

    async def publish(self, event: Event, *, channel: str = CHANNEL_DEFAULT) -> None:
        """See `NatsEventBus.publish`."""
        await self._session.hop(self._session.bus().publish(event, channel=channel))

    async def publish_acked(self, event: Event, *, channel: str = CHANNEL_DEFAULT) -> PubAck:
        """See `NatsEventBus.publish_acked`."""
        return await self._session.hop(self._session.bus().publish_acked(event, channel=channel))

    async def publish_many(self, events: list[tuple[Event, str]]) -> None:
        """See `NatsEventBus.publish_many`."""
        await self._session.hop(self._session.bus().publish_many(events))

    async def publish_many_acked(self, events: Sequence[tuple[Event, str]]) -> list[PubAck]:
        """See `NatsEventBus.publish_many_acked`."""
        return await self._session.hop(self._session.bus().publish_many_acked(events))

    def subscribe(
        self,
        event_type: type[Event] | str,
        handler: Callable[[Event], Awaitable[None] | None],
        *,
        channel: str = CHANNEL_ALL,
        filter: Callable[[Event], bool] | None = None,  # noqa: A002 - varco's signature
        priority: int = 0,
    ) -> Subscription:
        """See `NatsEventBus.subscribe`. It starts at the channel's first message.

        Raises:
            InvalidChannelError: the channel is neither `CHANNEL_ALL` nor a channel name.
        """
        bus = self._session.bus()
        if not self._session.loop.is_current:
            self._session.run(self._session.expire_durable(channel))
        return bus.subscribe(event_type, handler, channel=channel, filter=filter, priority=priority)

    async def drain(self, timeout: float = 30.0) -> None:
        """Wait until the handlers have handled everything their channels hold.

        Raises:
            TimeoutError: they have not, after `timeout` seconds.
        """
        await self._session.hop(self._session.drain(timeout))

    def observe(self, observer: Observer) -> Observation:
        """See `NatsEventBus.observe`; `observer` is called on the lab's thread."""
        return self._session.bus().observe(observer)


def _resolve(
    server: str | NatsEventBusSettings | None,
) -> tuple[NatsEventBusSettings, LocalNats | None]:
    if isinstance(server, NatsEventBusSettings):
        return server, None
    if server is not None and not isinstance(server, str):
        raise TypeError(
            f"Lab takes a URL like 'nats://host:4222' or NatsEventBusSettings, "
            f"not {type(server).__name__}"
        )
    if server is None and not os.environ.get(_SERVERS_VARIABLE, "").strip():
        local = LocalNats().start()
        return NatsEventBusSettings(servers=local.url, connect_kwargs={}), local
    settings = NatsEventBusSettings() if server is None else NatsEventBusSettings(servers=server)
    login = NatsConnectionSettings(servers=settings.servers).to_nats_kwargs()
    return settings.model_copy(
        update={"connect_kwargs": {**login, **settings.connect_kwargs}}
    ), None
