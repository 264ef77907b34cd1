"""The connection through which a run publishes, and whether that of another run still exists.

Each session answers on a subject of its own, over the connection through which it publishes. Once
nobody answers there, the server has closed that connection. Nothing sent over it can be stored any
more, so that what it did store can be looked up. A session never reconnects, and drops what it has
not written when the connection is lost.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js.api import StreamInfo

from varco_nats._nats.client import Connection, connect
from varco_nats._nats.inbox import ReplyInbox
from varco_nats._nats.stream import ensure_event_stream, largest_message
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import ReadOnlyError

_PROBE_SECONDS = 1.0
_PROBES = 3  # in a cluster, a new subscription reaches every server only after a moment
_BETWEEN_PROBES = 0.1


class RunSession:
    """One connection to the target, until it is lost."""

    def __init__(self, connection: Connection, stream: StreamInfo) -> None:
        self.connection = connection
        self.stream = stream
        self.inbox = ReplyInbox(connection)
        self.subject = connection.nc.new_inbox()
        self.lost = False
        """Whether its connection is lost or was given up."""
        self.on_lost: Callable[[], None] = lambda: None
        connection.on_disconnect(self.give_up)

    @classmethod
    async def open(cls, settings: NatsEventBusSettings, name: str) -> RunSession:
        """Connect, find or create the stream, and begin to answer.

        Raises:
            ConnectError, JetStreamUnavailableError: there is no server to publish to.
            StreamNotFoundError, StreamMismatchError: the stream cannot be used.
        """
        connection = await connect(settings, name=name)
        try:
            create = settings.auto_create_stream
            info = await ensure_event_stream(connection, settings, create=create)
            session = cls(connection, info)
            await session.inbox.start()
            await answer_on(connection, session.subject)
        except BaseException:
            await connection.abort()
            raise
        return session

    @property
    def max_size(self) -> int:
        """Bytes of headers and payload that the server and the stream take."""
        return largest_message(self.connection, self.stream.config)

    def give_up(self) -> None:
        """Send nothing more; what is not written yet is dropped."""
        self.lost = True
        self.connection.nc.discard_unsent()
        self.on_lost()

    async def close(self) -> None:
        """Close the connection at once; what was not answered may or may not have been stored."""
        self.give_up()
        with suppress(NatsError, OSError):
            await self.connection.abort()


async def answer_on(connection: Connection, subject: str) -> Subscription:
    """Answer every request to `subject`; returns when the server knows the subscription."""

    async def answer(msg: Msg) -> None:
        with suppress(NatsError):
            await msg.respond(b"")

    subscription = await connection.nc.subscribe(subject, cb=answer)
    try:
        await connection.nc.flush()
    except BaseException:
        with suppress(NatsError):
            await subscription.unsubscribe()
        raise
    return subscription


class Presence(Enum):
    """Whether somebody answers on a subject."""

    HERE = auto()
    GONE = auto()
    """The server knows of nobody who does."""
    UNKNOWN = auto()
    """No answer came: the process hangs and may go on later, or this login may not ask."""


async def presence(connection: Connection, subject: str) -> Presence:
    """Whether somebody still answers on `subject`."""
    for _ in range(_PROBES):
        try:
            await connection.nc.request(subject, timeout=_PROBE_SECONDS)
        except NoRespondersError:
            await asyncio.sleep(_BETWEEN_PROBES)
        except (NatsError, ReadOnlyError):
            return Presence.UNKNOWN
        else:
            return Presence.HERE
    return Presence.GONE


async def until_gone(connection: Connection, subject: str) -> None:
    """Wait until the server has noticed that a connection is lost."""
    for _ in itertools.count():
        if await presence(connection, subject) is Presence.GONE:
            return
        await asyncio.sleep(_BETWEEN_PROBES)
