"""What passes by on subjects that no stream keeps, and what is known to be missing of it.

A message is seen while there is a connection that reads fast enough, or never. Nobody numbers them,
so that a gap cannot be counted; when it may have been is all that is known.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from varco_nats._nats.client import Connection, connect
from varco_nats._nats.direct import Batch, StoredMessage
from varco_nats._nats.stream import covers
from varco_nats.config import NatsEventBusSettings
from varco_nats.errors import PermissionDeniedError
from varco_nats_widgets.frames._cells import counted

MAX_WAITING = 50_000
"""Messages that wait to be decoded; the oldest ones beyond that are dropped and counted."""

_MAX_BYTES = 64 * 1024 * 1024  # of these
_BATCH = 5_000
_GATHER_SECONDS = 0.02  # between two batches, so that each has more than one message
_KEPT = 100  # interruptions, of which the last ones are told


class Passing:
    """The messages on subjects from now on, over a connection of its own.

    That is no other work's connection, as a server ends one that is read too slowly.

    Args:
        subjects: also with `*` and `>`.
        on_change: called after each change of `state`, `problem`, `gaps` or `interruptions`.
    """

    forgets = False

    def __init__(
        self,
        settings: NatsEventBusSettings,
        subjects: Sequence[str],
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        wanted = tuple(dict.fromkeys(subjects))
        self._subjects = [
            each for each in wanted if not any(o != each and covers(o, each) for o in wanted)
        ]
        self._on_change = on_change
        self._connection: Connection | None = None
        self._subscriptions: list[Subscription] = []
        self._forget: list[Callable[[], None]] = []
        self._refusal: PermissionDeniedError | None = None
        self._arrived: deque[StoredMessage] = deque()
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._wake = asyncio.Event()
        self._began = self._last = datetime.now(UTC)  # when it was interrupted last, and why
        self._since: datetime | None = None  # the same while that lasts
        self._why = ""
        self._told: deque[dict[str, str | None]] = deque(maxlen=_KEPT)
        self.gaps = 0
        """Messages that came faster than they could be decoded, and were dropped here."""
        self.interruptions = 0
        """How often it saw nothing for a while: disconnected, or paused."""
        self.state = "catching up"

    @property
    def problem(self) -> str | None:
        """Why nothing can come at the moment; None if it can."""
        if self._refusal is not None:
            return str(self._refusal)
        connection = self._connection
        return None if connection is None or connection.is_connected else str(connection.problem)

    @property
    def notice(self) -> str:
        """What is not here."""
        text = (
            "what passes by, not what a stream keeps: what was published before "
            f"{self._began:%H:%M:%S} UTC, or while this was disconnected or paused, is not here"
        )
        if self.interruptions:
            times = counted(self.interruptions, "time")
            text += f"; that was so {times}, last from {self._last:%H:%M:%S} ({self._why})"
        if self.gaps:
            text += f"; {counted(self.gaps, 'message')} came too fast to be taken"
        return text

    @property
    def told(self) -> list[dict[str, str | None]]:
        """The last interruptions: `from` and `to`, which is None as long as it lasts; `why`."""
        if self._since is None:
            return [*self._told]
        return [*self._told, {"from": _text(self._since), "to": None, "why": self._why}]

    async def seek(self, *, since: datetime | None = None, start_seq: int | None = None) -> None:
        """Begin; there is nothing earlier.

        Raises:
            ConnectError: no connection.
            PermissionDeniedError: this login may not subscribe there.
        """
        assert since is None
        assert start_seq is None
        self._connection = await connect(self._settings, name="varco-lab-passing")
        self._connection.on_disconnect(lambda: self._blind("disconnected"))
        self._connection.on_reconnect(self._sees)
        await self._listen()

    async def batches(self) -> AsyncGenerator[Batch]:
        """What arrives, in batches, as it comes; `leave` ends that for a while.

        Raises:
            PermissionDeniedError: this login may not subscribe there, or no longer.
        """
        if not self._subscriptions:
            await self._listen()
        while True:
            if not self._arrived:
                self._wake.clear()
                await self._wake.wait()
            await asyncio.sleep(_GATHER_SECONDS)
            if batch := self._taken():
                yield batch
            if self._refusal is not None:
                raise self._refusal

    async def close(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _listen(self) -> None:
        connection = self._connection
        assert connection is not None
        for place, subject in enumerate(self._subjects):
            self._forget.append(connection.nc.on_refused(subject, self._refuse))
            take = self._receiver(self._subjects[:place])
            self._subscriptions.append(await connection.nc.subscribe_direct(subject, take))
        with suppress(NatsError):  # a connection that is lost subscribes when it is there again
            await connection.nc.flush()
        if self._refusal is not None:
            raise self._refusal
        if connection.is_connected:
            self._sees()

    async def leave(self) -> None:
        """See nothing until `batches` is called again."""
        self._blind("paused")
        while self._forget:
            self._forget.pop()()
        subscriptions, self._subscriptions = self._subscriptions, []
        with suppress(NatsError):
            for subscription in subscriptions:
                await subscription.unsubscribe()

    def _receiver(self, earlier: Sequence[str]) -> Callable[..., None]:
        """Takes the messages of one subscription but those that an earlier one gets as well."""
        arrived, numbers, wake = self._arrived, self._numbers, self._wake

        def take(subject: str, _reply: str, data: bytes, headers: Mapping[str, str] | None) -> None:
            if earlier and any(covers(pattern, subject) for pattern in earlier):
                return
            message = StoredMessage(next(numbers), subject, time.time_ns(), data, headers)
            arrived.append(message)
            self._bytes += len(data)
            while len(arrived) > MAX_WAITING or (self._bytes > _MAX_BYTES and len(arrived) > 1):
                self._bytes -= len(arrived.popleft().data)
                self.gaps += 1
            wake.set()

        return take

    def _taken(self) -> Batch:
        arrived = self._arrived
        some = [arrived.popleft() for _ in range(min(len(arrived), _BATCH))]
        self._bytes -= sum(len(message.data) for message in some)
        return Batch.of(some)

    def _refuse(self, error: PermissionDeniedError) -> None:
        self._refusal = error
        self._wake.set()
        self._on_change()

    def _blind(self, why: str) -> None:
        if self._connection is None:  # it has ended
            return
        if self._since is None:
            self._since = self._last = datetime.now(UTC)
            self._why = why
            self.interruptions += 1
        self.state = "reconnecting"
        self._on_change()

    def _sees(self) -> None:
        if not self._subscriptions:  # it is paused
            return
        if self._since is not None:
            ended = _text(datetime.now(UTC))
            self._told.append({"from": _text(self._since), "to": ended, "why": self._why})
            self._since = None
        self.state = "live"
        self._on_change()


def renamed_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a message that was not stored, its fields as the columns of a frame are called."""
    new = renamed(row)
    return {new.get(name, name): value for name, value in row.items()}


def renamed(names: Iterable[str]) -> dict[str, str]:
    """New names for columns that are of messages which were not stored."""
    taken, new = set(names), {}
    for old, name in (("stored_at", "received_at"), ("seq", "arrival")):
        other = name
        while other in taken:
            other = f"data.{other}"
        if other != name:  # a field of the payload has that name
            new[name] = other
        if old in taken:
            new[old] = name
    return new


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
