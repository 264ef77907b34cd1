"""What a started Replayer works with: the queue, the log, and where replays go."""

from __future__ import annotations

import getpass
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection, connect
from varco_nats._nats.stream import largest_message, stream_info
from varco_nats.config import NatsEventBusSettings
from varco_nats.dlq._store import DlqStore
from varco_nats.errors import VarcoNatsError
from varco_nats.observe import Observers
from varco_nats.replay._log import ReplayLog
from varco_nats.replay._plan import PlannedReplay, ReplayKind, ReplayPlan


@dataclass(slots=True)
class ReplayContext:
    """The queue and log of the source, and the target."""

    settings: NatsEventBusSettings
    """Of the queue and the log."""
    store: DlqStore
    log: ReplayLog
    target: NatsEventBusSettings
    servers: str
    """The target's servers without credentials, "" where they are the source's."""
    user: str
    observers: Observers

    @property
    def source(self) -> Connection:
        """The connection to the servers of the queue and the log."""
        return self.store.connection

    def route(self, kind: ReplayKind) -> tuple[str, str, str]:
        """The source stream, the target stream and the target's servers of a plan."""
        history = kind is ReplayKind.HISTORY
        source = self.settings.stream_name if history else self.store.names.stream
        return source, self.target.stream_name, self.servers

    def plan(
        self, kind: ReplayKind, rows: Sequence[PlannedReplay], note: str, again: bool
    ) -> ReplayPlan:
        """A new plan with these rows."""
        source, target, servers = self.route(kind)
        return ReplayPlan(
            plan_id=str(uuid4()),
            kind=kind,
            rows=tuple(rows),
            source=source,
            target=target,
            servers=servers,
            created_at=datetime.now(UTC),
            note=note,
            again=again,
        )

    async def limits(self) -> tuple[int, bool]:
        """The target's largest message, and whether it is on the same servers as the source."""
        async with self.target_connection() as connection:
            same = not self.servers or _cluster_of(connection) == _cluster_of(self.source)
            limit = connection.max_payload
            # a run says what is wrong with the stream
            with suppress(VarcoNatsError, NatsError):
                config = (await stream_info(connection, self.target.stream_name, wait=1.0)).config
                limit = largest_message(connection, config)
        return limit, same

    @asynccontextmanager
    async def target_connection(self) -> AsyncIterator[Connection]:
        """A connection to the target's servers, to ask something about it.

        Raises:
            ConnectError: there is no server.
        """
        if not self.servers:
            yield self.source
            return
        connection = await connect(self.target, name="varco-replay plan")
        try:
            yield connection
        finally:
            await connection.close()

    async def shares_queue(self) -> bool:
        """Whether services of the target put their dead letters into this very queue."""
        same = all(
            getattr(self.settings, name) == getattr(self.target, name)
            for name in ("stream_name", "subject_prefix", "channel_prefix", "connect_kwargs")
        )
        return same and (await self.limits())[1]


def user_and_host(user: str | None = None) -> str:
    """Who does something, for the log; by default the user of this process."""
    return f"{_user_of_process() if user is None else user}@{socket.gethostname()}"


def _user_of_process() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a user database
        return "unknown"


def _cluster_of(connection: Connection) -> object:
    """What two connections to the same JetStream have in common, whatever the addresses."""
    info = connection.nc.server_info
    return info.get("cluster") or info.get("server_id"), connection.api
